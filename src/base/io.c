/*
 * io.c - sending and receiving with a deadline.
 *
 * Every transfer is tried without blocking first and waited for with poll(2) after, so
 * a deadline holds even on a blocking descriptor.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/io.h"

#include "base/buf.h"

#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#define CHUNK 65536

uint64_t
io_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * MSEC_PER_SEC + (uint64_t)ts.tv_nsec / NSEC_PER_MSEC;
}

uint64_t
io_deadline(uint64_t timeout_ms)
{
	uint64_t now = io_now_ms();

	if (timeout_ms == 0 || timeout_ms >= IO_NO_DEADLINE - now)
		return IO_NO_DEADLINE;
	return now + timeout_ms;
}

/* 0 when fd is ready (or broken: the next transfer says how), -ETIMEDOUT, errno. */
static int
wait_for(int fd, short events, uint64_t deadline_ms)
{
	struct pollfd p = { .fd = fd, .events = events };

	for (;;) {
		int wait_ms = -1, n;

		if (deadline_ms != IO_NO_DEADLINE) {
			uint64_t now = io_now_ms();
			uint64_t left = deadline_ms > now ? deadline_ms - now : 0;

			wait_ms = (int)MIN_OF(left, (uint64_t)INT_MAX);
		}
		n = poll(&p, 1, wait_ms);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0 && io_now_ms() >= deadline_ms)
			return -ETIMEDOUT;
	}
}

int
io_send(int fd, const void *data, size_t len, uint64_t deadline_ms)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		int r;

		if (n >= 0) {
			p += n;
			len -= (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		r = wait_for(fd, POLLOUT, deadline_ms);
		if (r < 0)
			return r;
	}
	return 0;
}

int
io_recv(int fd, struct buf *in, uint64_t deadline_ms)
{
	AUTO_FREE char *chunk = malloc(CHUNK);

	if (chunk == NULL)
		return -ENOMEM;
	for (;;) {
		ssize_t n = recv(fd, chunk, CHUNK, MSG_DONTWAIT);
		int r;

		if (n == 0)
			return -ECONNRESET;
		if (n > 0)
			return buf_append(in, chunk, (size_t)n) < 0 ? -ENOMEM : 0;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		r = wait_for(fd, POLLIN, deadline_ms);
		if (r < 0)
			return r;
	}
}
