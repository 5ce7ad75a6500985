/*
 * notifyd.c - a small server for `command =` tests that speaks sd_notify by itself.
 *
 * Serves the listening socket 3: each connection gets one line with the pid and is
 * closed. Says READY=1 once it serves, STATUS= after each connection, WATCHDOG=1 then and twice
 * within WATCHDOG_USEC, STOPPING=1 when SIGTERM comes, then ends with 0. Exit code 1:
 * something that it needs is missing.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTENER 3

static volatile sig_atomic_t stop_asked;

static void
on_term(int sig)
{
	(void)sig;
	stop_asked = 1;
}

/* The protocol of sd_notify(3): one datagram to $NOTIFY_SOCKET. */
static int
notify(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	size_t len;
	int fd, r;

	if (path == NULL)
		return 0;
	len = strlen(path);
	if (len == 0 || len >= sizeof a.sun_path)
		return -EINVAL;
	memcpy(a.sun_path, path, len);
	if (a.sun_path[0] == '@')
		a.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	r = sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&a,
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0 ? -errno : 0;
	close(fd);
	return r;
}

/* Half of what the environment asks for, in milliseconds; -1: no heartbeat. */
static int
beat_interval(void)
{
	const char *text = getenv("WATCHDOG_USEC");
	long long usec = text != NULL ? atoll(text) : 0;

	return usec > 0 ? (int)(usec / 2000) + 1 : -1;
}

static void
serve_one(unsigned *served)
{
	char answer[64], status[64];
	int fd = accept(LISTENER, NULL, NULL);

	/* The socket is shared: another worker may have been quicker. */
	if (fd < 0)
		return;
	snprintf(answer, sizeof answer, "notifyd %d\n", (int)getpid());
	if (write(fd, answer, strlen(answer)) < 0)
		perror("notifyd: write");
	close(fd);
	snprintf(status, sizeof status, "STATUS=served %u", ++*served);
	notify(status);
}

int
main(void)
{
	struct sigaction term = { .sa_handler = on_term };
	struct pollfd p = { .fd = LISTENER, .events = POLLIN };
	const char *fds = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");
	int interval = beat_interval(), r;
	unsigned served = 0;

	if (fds == NULL || atoi(fds) < 1 || pid == NULL || atoi(pid) != (int)getpid()) {
		fprintf(stderr, "notifyd: no socket was passed\n");
		return 1;
	}
	sigaction(SIGTERM, &term, NULL);
	r = notify("READY=1\nWATCHDOG=1\nSTATUS=serving");
	if (r < 0) {
		fprintf(stderr, "notifyd: %s\n", strerror(-r));
		return 1;
	}
	while (!stop_asked) {
		r = poll(&p, 1, interval);
		if (r > 0)
			serve_one(&served);
		if (interval > 0)
			notify("WATCHDOG=1");
	}
	notify("STOPPING=1");
	return 0;
}
