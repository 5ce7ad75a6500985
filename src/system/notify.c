/*
 * notify.c - the service manager's socket.
 *
 * Nothing here waits. A state (ready, reloading, stopping) that finds the
 * manager's queue full is kept and sent before whatever is told next, since a
 * lost READY=1 would have the service killed at its start timeout; a status or
 * a sign of life that is lost is followed by another one.
 */
#include "system/notify.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#define STATUS_MAX   480	/* bytes; systemctl shows one line */
#define DATAGRAM_MAX (STATUS_MAX + 160)

static struct {
	struct sockaddr_un addr;
	socklen_t addr_len;	/* 0: nobody to tell */
	int fd;
	uint64_t watchdog_ms;
	size_t kept_len;	/* of a state that could not be sent yet */
	char kept[DATAGRAM_MAX];
} manager = { .fd = -1 };

/* 0 for what is no decimal number. */
static uint64_t
env_number(const char *name)
{
	const char *text = getenv(name);
	uint64_t v = 0;

	if (!text || !*text)
		return 0;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || v > (UINT64_MAX - 9) / 10)
			return 0;
		v = v * 10 + (uint64_t)(*text - '0');
	}
	return v;
}

/* A path, or @NAME in the abstract name space. */
static void
set_address(const char *name)
{
	size_t len = name ? strlen(name) : 0;

	manager.addr_len = 0;
	if (len < 2 || (name[0] != '/' && name[0] != '@') || len >= sizeof(manager.addr.sun_path))
		return;
	manager.addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(manager.addr.sun_path, name, len);
	if (name[0] == '@')
		manager.addr.sun_path[0] = '\0';
	manager.addr_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len +
	    (name[0] == '/'));
}

void
notify_init(void)
{
	uint64_t usec = env_number("WATCHDOG_USEC");
	uint64_t pid = env_number("WATCHDOG_PID");

	base_close_p(&manager.fd);
	manager.kept_len = 0;
	set_address(getenv("NOTIFY_SOCKET"));
	if (getenv("WATCHDOG_PID") && pid != (uint64_t)getpid())
		usec = 0;
	manager.watchdog_ms = manager.addr_len ? usec / 2 / USEC_PER_MSEC : 0;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

uint64_t
notify_watchdog_ms(void)
{
	return manager.watchdog_ms;
}

static int
send_datagram(const char *text, size_t len)
{
	if (manager.fd < 0)
		manager.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (manager.fd < 0)
		return -errno;
	while (sendto(manager.fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL,
	    (const struct sockaddr *)&manager.addr, manager.addr_len) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

/* Bytes of s that are kept, so that no UTF-8 character is cut: the manager ignores a status
 * that is not valid. */
static size_t
whole_characters(const char *s, size_t max)
{
	size_t n = strnlen(s, max + 1);

	if (n <= max)
		return n;
	n = max;
	while (n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80)
		n--;
	return n;
}

/* Sends `state` lines (each ends with a newline) and the status. */
static void
tell(const char *state, const char *status, bool is_lasting)
{
	int saved = errno;
	char text[DATAGRAM_MAX];
	size_t len = strlen(state);

	if (manager.addr_len == 0)
		return;
	memcpy(text, state, len);
	if (status) {
		static const char key[] = "STATUS=";
		size_t n = whole_characters(status, STATUS_MAX);

		memcpy(text + len, key, sizeof(key) - 1);
		len += sizeof(key) - 1;
		for (size_t i = 0; i < n; i++) {
			unsigned char c = (unsigned char)status[i];

			text[len++] = c < 0x20 || c == 0x7f ? ' ' : status[i];
		}
		text[len++] = '\n';
	}
	if (manager.kept_len > 0 && send_datagram(manager.kept, manager.kept_len) != -EAGAIN)
		manager.kept_len = 0;
	if ((manager.kept_len > 0 || send_datagram(text, len) == -EAGAIN) && is_lasting) {
		memcpy(manager.kept, text, len);
		manager.kept_len = len;
	}
	errno = saved;
}

void
notify_ready(const char *status)
{
	tell("READY=1\n", status, true);
}

void
notify_status(const char *status)
{
	tell("", status ? status : "", false);
}

void
notify_reloading(const char *status)
{
	struct timespec now;
	char text[96];

	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%ju\n",
	    (uintmax_t)now.tv_sec * USEC_PER_SEC + (uintmax_t)now.tv_nsec / 1000);
	tell(text, status, true);
}

void
notify_stopping(const char *status)
{
	tell("STOPPING=1\n", status, true);
}

void
notify_extend_timeout(uint64_t ms)
{
	char text[64];

	snprintf(text, sizeof(text), "EXTEND_TIMEOUT_USEC=%ju\n",
	    (uintmax_t)(MIN_OF(ms, UINT64_MAX / USEC_PER_MSEC) * USEC_PER_MSEC));
	tell(text, NULL, false);
}

void
notify_watchdog(void)
{
	tell("WATCHDOG=1\n", NULL, false);
}
