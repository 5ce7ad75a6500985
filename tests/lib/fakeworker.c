/*
 * fakeworker.c - a worker for `command =` tests that misbehaves as it is told.
 *
 * A tiny HTTP server on the listening socket 3 that answers every path with its pid and
 * "Connection: close", one connection at a time. What it does besides is given as words:
 *
 *   after=MS            wait before the words that follow, and before serving when it is last
 *   ready | ready-notify  READY=1 on the channel | on the notify socket
 *   never               from here on only wait; no word after it, no service
 *   exit=CODE           end at once
 *   signal=N            send itself a signal
 *   ignore-term         SIGTERM does nothing
 *   slow-term=MS        SIGTERM ends it after a while
 *   close-channel       close the channel's end
 *   beat=MS             WATCHDOG=1 so often while it serves
 *   no-beat             stop that
 *   requests            say REQUESTS=n after each request
 *   garbage             send what no worker should say, on both sockets
 *   flood=MS            send as fast as possible on both sockets, from a child, so long
 *   fds                 send descriptors along on the notify socket
 *   shutdown            shutdown() on the listening socket
 *   blocking            clear O_NONBLOCK of the listening socket
 *   fork                a grandchild that sleeps for ten minutes; setsid: in its own session
 *   setsid              makes the next fork leave the session and the group
 *   say=TEXT            a line on stderr
 *
 * The same words work as paths of requests: GET /exit=3, GET /close-channel. SIGTERM ends
 * it with 0. Exit code 2: a word that it does not know.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LISTENER 3

static int channel = -1;
static int beat_ms = -1;
static bool tells_requests, leaves_group;
static unsigned requests;
static volatile sig_atomic_t term_came;

static void
on_term(int sig)
{
	(void)sig;
	term_came = 1;
}

static long long
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void
wait_ms(long long ms)
{
	long long end = now_ms() + ms;

	while (now_ms() < end && !term_came)
		poll(NULL, 0, (int)(end - now_ms()));
}

static void
say(const char *text)
{
	if (channel >= 0)
		(void)send(channel, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* As sd_notify(3) does it, a message waits for room in the socket (ten fit by default, see
 * net.unix.max_dgram_qlen); only a flood does not. */
static int flood_flags;

/* fd >= 0: is sent along. */
static void
notify(const char *data, size_t n, int fd)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; } control = { 0 };
	struct iovec io = { (void *)(uintptr_t)data, n };
	struct msghdr m = { .msg_name = &a, .msg_iov = &io, .msg_iovlen = 1 };
	int sock;

	if (path == NULL || strlen(path) >= sizeof a.sun_path)
		return;
	memcpy(a.sun_path, path, strlen(path));
	if (a.sun_path[0] == '@')
		a.sun_path[0] = '\0';
	m.msg_namelen = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	if (fd >= 0) {
		m.msg_control = &control;
		m.msg_controllen = sizeof control;
		control.h.cmsg_level = SOL_SOCKET;
		control.h.cmsg_type = SCM_RIGHTS;
		control.h.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.h), &fd, sizeof fd);
	}
	sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return;
	(void)sendmsg(sock, &m, MSG_NOSIGNAL | flood_flags);
	close(sock);
}

static void
send_garbage(void)
{
	static const char *const bad[] = {
		"REQUESTS=-5\n", "no equals sign", "=", "\n\n\n", "READY=2\n", "BUSY=x\n",
		"REQUESTS=99999999999999999999999\n", "\xff\xfe\x01", "WATCHDOG=trigger\n",
	};
	char long_one[4096];

	memset(long_one, 'A', sizeof long_one);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		say(bad[i]);
		notify(bad[i], strlen(bad[i]), -1);
	}
	if (channel >= 0)
		(void)send(channel, long_one, sizeof long_one, MSG_NOSIGNAL | MSG_DONTWAIT);
	notify(long_one, sizeof long_one, -1);
	notify("", 0, -1);
}

static void
flood(int ms)
{
	long long end = now_ms() + ms;
	pid_t pid = fork();

	if (pid != 0)
		return;
	flood_flags = MSG_DONTWAIT;
	while (now_ms() < end) {
		say("STATUS=flood\n");
		notify("STATUS=flood\n", 13, -1);
	}
	_exit(0);
}

static void
fork_grandchild(void)
{
	pid_t pid = fork();

	if (pid != 0)
		return;
	if (leaves_group)
		(void)setsid();
	signal(SIGTERM, SIG_IGN);
	for (int i = 0; i < 600; i++)
		poll(NULL, 0, 1000);
	_exit(0);
}

static void never(void) __attribute__((noreturn));

static void
never(void)
{
	while (!term_came)
		poll(NULL, 0, 1000);
	_exit(0);
}

/* One word; false: it is not known. */
static bool
act(const char *word)
{
	const char *value = strchr(word, '=');
	size_t len = value != NULL ? (size_t)(value - word) : strlen(word);
	int n = value != NULL ? atoi(++value) : 0;
	int flags = fcntl(LISTENER, F_GETFL);

#define IS(name) (strlen(name) == len && strncmp(word, (name), len) == 0)
	if (IS("after"))
		wait_ms(n);
	else if (IS("ready"))
		say("READY=1\n");
	else if (IS("ready-notify"))
		notify("READY=1\n", 8, -1);
	else if (IS("never"))
		never();
	else if (IS("exit"))
		_exit(n);
	else if (IS("signal"))
		raise(n);
	else if (IS("ignore-term"))
		signal(SIGTERM, SIG_IGN);
	else if (IS("close-channel"))
		close(channel);
	else if (IS("beat"))
		beat_ms = n;
	else if (IS("no-beat"))
		beat_ms = -1;
	else if (IS("requests"))
		tells_requests = true;
	else if (IS("garbage"))
		send_garbage();
	else if (IS("flood"))
		flood(n);
	else if (IS("fds"))
		for (int i = 0; i < 100; i++)
			notify("STATUS=with a descriptor\n", 25, 0);
	else if (IS("shutdown"))
		shutdown(LISTENER, SHUT_RDWR);
	else if (IS("blocking"))
		fcntl(LISTENER, F_SETFL, flags & ~O_NONBLOCK);
	else if (IS("fork"))
		fork_grandchild();
	else if (IS("setsid"))
		leaves_group = true;
	else if (IS("say"))
		fprintf(stderr, "%s\n", value);
	else
		return false;
#undef IS
	return true;
}

static void
serve_one(void)
{
	char request[4096], body[32], answer[256], counts[64];
	int fd = accept(LISTENER, NULL, NULL);
	ssize_t n;

	if (fd < 0)
		return;
	n = read(fd, request, sizeof request - 1);
	request[n > 0 ? n : 0] = '\0';
	snprintf(body, sizeof body, "%d", (int)getpid());
	snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n"
	    "Connection: close\r\n\r\n%s", strlen(body), body);
	(void)!write(fd, answer, strlen(answer));
	shutdown(fd, SHUT_WR);
	close(fd);
	requests++;
	if (tells_requests) {
		snprintf(counts, sizeof counts, "REQUESTS=%u\nBUSY=0\n", requests);
		say(counts);
	}
	if (strncmp(request, "GET /", 5) == 0) {
		request[5 + strcspn(request + 5, " ?\r\n")] = '\0';
		(void)act(request + 5);
	}
}

int
main(int argc, char **argv)
{
	struct sigaction term = { .sa_handler = on_term };
	struct pollfd p = { .fd = LISTENER, .events = POLLIN };
	const char *fd = getenv("PREFORKD_CHANNEL");
	int slow_term_ms = 0;

	if (fd != NULL)
		channel = atoi(fd);
	sigaction(SIGTERM, &term, NULL);
	signal(SIGCHLD, SIG_IGN);
	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], "slow-term=", 10) == 0) {
			slow_term_ms = atoi(argv[i] + 10);
		} else if (!act(argv[i])) {
			fprintf(stderr, "fakeworker: what is '%s'?\n", argv[i]);
			return 2;
		}
	}
	while (!term_came) {
		/* A little below the interval: the clock of poll() is coarse. */
		if (poll(&p, 1, beat_ms > 0 ? beat_ms : 1000) > 0)
			serve_one();
		if (beat_ms > 0)
			say("WATCHDOG=1\n");
	}
	term_came = 0;
	wait_ms(slow_term_ms);
	return 0;
}
