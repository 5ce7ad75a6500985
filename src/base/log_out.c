/*
 * log_out.c - the descriptor behind the log, written without ever waiting.
 *
 * What cannot be written at once is lost and counted in lines. A line that went
 * out by half only (a full terminal or stream socket) is ended before the next
 * one begins.
 *
 * The non-blocking mode belongs to the open file description, which standard
 * error shares with the shell and the workers. Hence a pipe or terminal is
 * opened anew through /proc; where that is not allowed (a pipe made by another
 * user) the write itself is made not to wait. A regular file never waits and
 * is used as it is: an offset of our own would overwrite what others write.
 */
#include "base/log_out.h"
#include "base/log.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

enum out_kind { OUT_UNSET, OUT_FILE, OUT_OWN, OUT_SOCKET, OUT_SHARED };

static struct {
	int fd;
	enum out_kind kind;
	bool is_journal;
	bool is_torn;		/* the last write ended within a line */
	uint64_t dropped;	/* lines lost since log_out_take_dropped */
} out_state = { .fd = -1 };

bool
log_is_journal(int fd)
{
	const char *name = getenv("JOURNAL_STREAM");
	struct stat st;
	char want[64];

	if (!name || fstat(fd, &st) < 0)
		return false;
	snprintf(want, sizeof(want), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	return strcmp(want, name) == 0;
}

/* A new open file description of the same pipe, terminal or device. The terminal of a session
 * is there for everybody in it, also where another user owns its device (su, sudo). */
static int
open_again(int fd)
{
	const int flags = O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
	unsigned want = 0, have = 0;
	char path[64];
	int own;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open(path, flags);
	if (own >= 0 || ioctl(fd, TIOCGDEV, &want) < 0)
		return own;
	own = open("/dev/tty", flags);
	if (own >= 0 && (ioctl(own, TIOCGDEV, &have) < 0 || have != want))
		base_close_p(&own);
	return own;
}

void
log_init(int fd)
{
	int saved = errno;
	struct stat st;

	if (out_state.kind == OUT_OWN)
		close(out_state.fd);
	out_state.fd = fd;
	out_state.kind = OUT_SHARED;
	out_state.is_journal = log_is_journal(fd);
	out_state.is_torn = false;
	if (fstat(fd, &st) < 0)
		goto out;
	if (S_ISREG(st.st_mode)) {
		out_state.kind = OUT_FILE;
	} else if (S_ISSOCK(st.st_mode)) {
		out_state.kind = OUT_SOCKET;
	} else {
		int own = open_again(fd);

		if (own >= 0) {
			out_state.fd = own;
			out_state.kind = OUT_OWN;
		}
	}
out:
	errno = saved;
}

/* For a description that is shared and may block: the kernel is asked not to
 * wait; where it does not know that for this kind of file (pipes before Linux 6.4),
 * poll tells whether a piece of at most PIPE_BUF bytes fits. */
static ssize_t
write_shared(const char *data, size_t len)
{
	struct iovec iov = { .iov_len = len };
	struct pollfd p = { .fd = out_state.fd, .events = POLLOUT };
	ssize_t n;

	memcpy(&iov.iov_base, &data, sizeof(data));
	n = pwritev2(out_state.fd, &iov, 1, -1, RWF_NOWAIT);
	if (n >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL))
		return n;
	if (poll(&p, 1, 0) <= 0 || !(p.revents & POLLOUT)) {
		errno = EAGAIN;
		return -1;
	}
	return write(out_state.fd, data, len);
}

static ssize_t
write_once(const char *data, size_t len)
{
	ssize_t n = -1;

	do {
		switch (out_state.kind) {
		case OUT_UNSET:
			errno = EBADF;
			break;
		case OUT_FILE:
		case OUT_OWN:
			n = write(out_state.fd, data, len);
			break;
		case OUT_SOCKET:
			n = send(out_state.fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
			break;
		case OUT_SHARED:
			n = write_shared(data, len);
			break;
		}
	} while (n < 0 && errno == EINTR);
	return n;
}

/* How much of data goes out in one write: whole lines of at most PIPE_BUF bytes,
 * which a pipe takes entirely or not at all. */
static size_t
piece_len(const char *data, size_t len)
{
	const char *end;

	if (len <= PIPE_BUF)
		return len;
	end = memrchr(data, '\n', PIPE_BUF);
	return end ? (size_t)(end - data) + 1 : PIPE_BUF;
}

static size_t
count_lines(const char *data, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += data[i] == '\n' || i + 1 == len;
	return n;
}

bool
log_out_write(const char *data, size_t len)
{
	if (out_state.kind == OUT_UNSET)
		log_init(STDERR_FILENO);
	if (out_state.is_torn) {
		if (write_once("\n", 1) != 1) {
			out_state.dropped += count_lines(data, len);
			return false;
		}
		out_state.is_torn = false;
	}
	while (len > 0) {
		size_t want = piece_len(data, len);
		ssize_t n = write_once(data, want);

		if (n > 0) {
			out_state.is_torn = data[n - 1] != '\n';
			data += n;
			len -= (size_t)n;
		}
		if (n < 0 || (size_t)n < want) {
			/* a line that lacks nothing but its end is not lost */
			if (out_state.is_torn && data[0] == '\n') {
				data++;
				len--;
			}
			out_state.dropped += count_lines(data, len);
			return false;
		}
	}
	return true;
}

bool
log_out_is_journal(void)
{
	if (out_state.kind == OUT_UNSET)
		log_init(STDERR_FILENO);
	return out_state.is_journal;
}

void
log_out_add_dropped(uint64_t lines)
{
	out_state.dropped += lines;
}

uint64_t
log_out_take_dropped(void)
{
	return TAKE(out_state.dropped, 0);
}
