/*
 * journal.c - log lines with their fields, in the journal's native protocol.
 *
 * One datagram per line: FIELD=value, or for a text of several lines the field's
 * name, its length as 64 bits little-endian, and the bytes
 * (systemd.io/JOURNAL_NATIVE_PROTOCOL). It is never waited for; what the journal
 * does not take goes to standard error instead, which counts what is lost.
 */
#include "system/notify.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#define FIELDS_MAX   8
#define FIELD_MAX    128
#define FALLBACK_MAX 4096

const char *journal_socket = "/run/systemd/journal/socket";

bool
journal_is_stderr(void)
{
	return log_is_journal(STDERR_FILENO);
}

/* One socket for all lines; CLOEXEC. */
static int
send_entry(struct iovec *iov, size_t n)
{
	static int fd = -1;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct msghdr mh = {
		.msg_name = &addr, .msg_namelen = sizeof(addr), .msg_iov = iov, .msg_iovlen = n,
	};
	size_t len = strlen(journal_socket);

	if (len >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, journal_socket, len);
	if (fd < 0)
		fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	while (sendmsg(fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

static void
write_fallback(enum log_level level, const char *who, const char *message)
{
	char text[FALLBACK_MAX];
	int n = snprintf(text, sizeof(text) - 1, "<%d>%s%s", (int)level, who, message);
	size_t len;

	if (n < 0)
		return;
	len = MIN_OF((size_t)n, sizeof(text) - 2);
	for (size_t i = 0; i < len; i++)
		if (text[i] == '\n')
			text[i] = ' ';
	text[len++] = '\n';
	log_raw(text, len);
}

struct entry {
	unsigned n;
	char field[FIELDS_MAX][FIELD_MAX];
};

static void entry_add(struct entry *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void
entry_add(struct entry *e, const char *fmt, ...)
{
	char *field = e->field[e->n];
	va_list ap;
	size_t len;

	va_start(ap, fmt);
	vsnprintf(field, FIELD_MAX - 1, fmt, ap);
	va_end(ap);
	len = strlen(field);
	/* a newline would begin a field of its own */
	for (size_t i = 0; i < len; i++)
		if (field[i] == '\n')
			field[i] = ' ';
	memcpy(field + len, "\n", 2);
	e->n++;
}

/* sendmsg reads only, but struct iovec cannot say so. */
static struct iovec
text_iov(const char *text)
{
	struct iovec iov = { .iov_len = strlen(text) };

	memcpy(&iov.iov_base, &text, sizeof(text));
	return iov;
}

void
journal_sink(void *ctx UNUSED, enum log_level level, const struct log_about *about,
    const char *message)
{
	static const char head[] = "MESSAGE\n";
	char who[96];
	uint64_t len = htole64(log_format_about(about, who, sizeof(who)) + strlen(message));
	struct entry e = {0};
	/* The message says by itself whom it is about: most readers see nothing else. */
	struct iovec iov[FIELDS_MAX + 5] = {
		text_iov(head), { .iov_base = &len, .iov_len = sizeof(len) },
		text_iov(who), text_iov(message), text_iov("\n"),
	};
	size_t n = 5;

	entry_add(&e, "PRIORITY=%d", (int)level);
	entry_add(&e, "SYSLOG_IDENTIFIER=preforkd");
	if (about && about->slot)
		entry_add(&e, "PREFORKD_SLOT=%u", about->slot);
	if (about && about->pid)
		entry_add(&e, "PREFORKD_WORKER_PID=%d", (int)about->pid);
	if (about && about->serial)
		entry_add(&e, "PREFORKD_SERIAL=%ju", (uintmax_t)about->serial);
	if (about && about->generation)
		entry_add(&e, "PREFORKD_GENERATION=%u", about->generation);
	if (about && about->event)
		entry_add(&e, "PREFORKD_EVENT=%s", about->event);
	if (about && about->reason)
		entry_add(&e, "PREFORKD_REASON=%s", about->reason);
	for (unsigned i = 0; i < e.n; i++)
		iov[n++] = (struct iovec){ .iov_base = e.field[i], .iov_len = strlen(e.field[i]) };
	if (send_entry(iov, n) < 0)
		write_fallback(level, who, message);
}
