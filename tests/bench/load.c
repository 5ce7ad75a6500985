/*
 * load.c - the client of the benchmarks: requests as fast as one thread asks them.
 *
 *	load [options] ADDRESS:PORT
 *
 * Keeps --connections conversations going for --seconds. Each one sends a GET, checks
 * status and length of the response, and asks again: on the same connection in keep-alive
 * mode, on a new one in close mode (also where the server closes). Every request that was
 * begun ends in exactly one of the counters, those at work when the time is over included:
 *
 *	ok		complete, with the status and length asked for
 *	refused		no connection
 *	reset_before	the connection ended before the first byte of the response
 *	reset_inside	... within the response
 *	timeout		no complete response within --timeout
 *	bad		complete, but not what was asked for; without Content-Length
 *
 * Rate and latency (from connect() for a new connection) are those of the ok ones after
 * --warm-up and before the end. Exits 0 when it ran, whatever was counted; 1 when the client
 * itself had trouble (no descriptors, no local ports); 2 for bad usage.
 */
#include "load_head.h"
#include "load_stats.h"

#include "base/base.h"
#include "base/err.h"
#include "model/values.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#define CONNECTIONS_MAX 1024
#define HEAD_MAX 4096
#define TICK_MS 10

/* A conversation that was refused tries again so much later, so as not to count millions. */
#define RETRY_USEC (10 * USEC_PER_MSEC)

enum phase {
	PHASE_IDLE,		/* no connection; due is when to make one */
	PHASE_SEND,		/* connecting, or sending the request */
	PHASE_HEAD,
	PHASE_BODY,
	PHASE_END,		/* counted; the server is about to close */
};

struct conn {
	int fd;
	enum phase phase;
	size_t sent, have;	/* bytes of the request; of the head */
	uint64_t body_left;
	uint64_t start, due;
	bool closes, good;
	char head[HEAD_MAX + 1];
};

struct load {
	struct sockaddr_in to;
	const char *to_text, *path;
	bool close_mode, json;
	uint64_t connections, status, body;	/* body: UINT64_MAX is any length */
	uint64_t run_usec, warm_usec, timeout_usec;

	int epoll;
	char request[512];
	size_t request_len;
	uint64_t from, until;			/* of what is measured */
	struct stats stats;
	struct conn conns[CONNECTIONS_MAX];
};

static struct load load;

static uint64_t
now_usec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

NO_RETURN static void
fail(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void
count(struct conn *c, enum outcome outcome, uint64_t now)
{
	load.stats.counts[outcome]++;
	if (outcome == OK && now >= load.from && now < load.until)
		stats_add(&load.stats, now - c->start);
}

/* Ends the connection; the next one is made at `when`. */
static void
conn_close(struct conn *c, uint64_t when)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->phase = PHASE_IDLE;
	c->due = when;
}

static void
conn_lose(struct conn *c, enum outcome outcome, uint64_t now)
{
	count(c, outcome, now);
	conn_close(c, outcome == REFUSED ? now + RETRY_USEC : now);
}

static void
conn_ask(struct conn *c, uint64_t now)
{
	c->phase = PHASE_SEND;
	c->sent = c->have = 0;
	c->start = now;
	c->due = now + load.timeout_usec;
}

/* The connection is gone; err is 0 for an orderly end. */
static void
conn_gone(struct conn *c, int err, uint64_t now)
{
	if (c->phase == PHASE_END)
		conn_close(c, now);
	else if (c->phase == PHASE_SEND && (err == ECONNREFUSED || err == EHOSTUNREACH))
		conn_lose(c, REFUSED, now);
	else if (err == ETIMEDOUT)
		conn_lose(c, TIMEOUT, now);
	else if (c->phase == PHASE_BODY || c->have > 0)
		conn_lose(c, RESET_INSIDE, now);
	else
		conn_lose(c, RESET_BEFORE, now);
}

/* Sends what is left of the request; false when that has to wait or has failed. */
static bool
conn_send(struct conn *c, uint64_t now)
{
	ssize_t n;

	n = send(c->fd, load.request + c->sent, load.request_len - c->sent, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != ENOTCONN) {
		conn_gone(c, errno, now);
		return false;
	}
	c->sent += n > 0 ? (size_t)n : 0;
	if (c->sent < load.request_len)
		return false;
	c->phase = PHASE_HEAD;
	return true;
}

static void
conn_connect(struct conn *c, uint64_t now)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c };
	const struct sockaddr *to = (const struct sockaddr *)&load.to;
	const int on = 1;

	conn_ask(c, now);
	load.stats.connects++;
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		fail("socket");
	if (setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
		fail("TCP_NODELAY");
	if (connect(c->fd, to, sizeof(load.to)) < 0 && errno != EINPROGRESS) {
		if (errno == EADDRNOTAVAIL)
			fail("connect");
		conn_gone(c, errno, now);
		return;
	}
	if (epoll_ctl(load.epoll, EPOLL_CTL_ADD, c->fd, &ev) < 0)
		fail("epoll_ctl");
	conn_send(c, now);
}

/* n bytes of body, or more than that, have come. */
static void
conn_body(struct conn *c, uint64_t n, uint64_t now)
{
	if (n < c->body_left) {
		c->body_left -= n;
		return;
	}
	if (n > c->body_left) {
		conn_lose(c, BAD, now);
		return;
	}
	count(c, c->good ? OK : BAD, now);
	if (c->closes)
		c->phase = PHASE_END;
	else if (now < load.until)
		conn_ask(c, now);
	else
		conn_close(c, now);
}

static void
conn_head(struct conn *c, size_t n, uint64_t now)
{
	struct head head;
	char *end;
	size_t used;

	c->have += n;
	c->head[c->have] = '\0';
	end = strstr(c->head, "\r\n\r\n");
	if (!end) {
		if (c->have == HEAD_MAX)
			conn_lose(c, BAD, now);
		return;
	}
	*end = '\0';
	used = (size_t)(end - c->head) + 4;
	if (head_parse(c->head, &head) < 0) {
		conn_lose(c, BAD, now);
		return;
	}
	c->body_left = head.length;
	c->closes = load.close_mode || head.closes;
	c->good = head.status == load.status &&
	    (load.body == UINT64_MAX || head.length == load.body);
	c->phase = PHASE_BODY;
	conn_body(c, c->have - used, now);
}

/* Takes one buffer full; false when nothing is there, or the connection is gone. A short read
 * is no end: what follows may be the end of the connection, of which no other event tells. */
static bool
conn_receive(struct conn *c, uint64_t now)
{
	static char waste[64 * 1024];
	bool head = c->phase == PHASE_HEAD;
	size_t room = head ? HEAD_MAX - c->have : sizeof(waste);
	ssize_t n;

	n = recv(c->fd, head ? c->head + c->have : waste, room, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		conn_gone(c, n < 0 ? errno : 0, now);
		return false;
	}
	if (head)
		conn_head(c, (size_t)n, now);
	else if (c->phase == PHASE_BODY)
		conn_body(c, (uint64_t)n, now);
	return c->fd >= 0;
}

/* Edge-triggered: goes on until there is nothing to send and nothing to read. */
static void
conn_turn(struct conn *c, uint64_t now)
{
	bool more;

	do {
		more = false;
		if (c->phase == PHASE_SEND)
			more = conn_send(c, now);
		else if (c->fd >= 0)
			more = conn_receive(c, now);
	} while (more);
}

/* Connections that are due: to be made, or to be given up. False when nothing is left to do. */
static bool
conns_look(uint64_t now)
{
	bool left = now < load.until;

	for (size_t i = 0; i < load.connections; i++) {
		struct conn *c = &load.conns[i];

		if (c->phase == PHASE_IDLE) {
			if (now < load.until && now >= c->due)
				conn_connect(c, now);
		} else if (c->phase == PHASE_END) {
			if (now >= load.until || now >= c->due)
				conn_close(c, now);
		} else if (now >= c->due) {
			conn_lose(c, TIMEOUT, now);
		}
		left = left || c->phase != PHASE_IDLE;
	}
	return left;
}

static void
run(void)
{
	struct epoll_event evs[256];
	uint64_t now = now_usec(), looked = 0;
	int n;

	load.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (load.epoll < 0)
		fail("epoll_create1");
	load.from = now + load.warm_usec;
	load.until = load.from + load.run_usec;
	for (size_t i = 0; i < load.connections; i++)
		load.conns[i].fd = -1;
	while (now - looked < TICK_MS * USEC_PER_MSEC || conns_look(looked = now)) {
		n = epoll_wait(load.epoll, evs, (int)ARRAY_LEN(evs), TICK_MS);
		if (n < 0 && errno != EINTR)
			fail("epoll_wait");
		for (int i = 0; i < n; i++) {
			struct conn *c = evs[i].data.ptr;

			now = now_usec();
			conn_turn(c, now);
			if (c->phase == PHASE_IDLE && now >= c->due && now < load.until)
				conn_connect(c, now);
		}
		now = now_usec();
	}
	close(load.epoll);
}

NO_RETURN static void
usage(const char *why)
{
	fprintf(stderr, "load: %s\nUsage: load [--mode keep-alive|close] [--connections N] "
	    "[--seconds T] [--warm-up T]\n\t[--timeout T] [--path PATH] [--status N] "
	    "[--body BYTES] [--json] ADDRESS:PORT\n", why);
	exit(2);
}

static uint64_t
parse_number(const char *text, uint64_t min, uint64_t max)
{
	struct err e = { 0 };
	uint64_t n;

	if (value_parse_count(text, &n, &e) < 0 || n < min || n > max)
		usage("a number is missing or out of range");
	return n;
}

static uint64_t
parse_usec(const char *text)
{
	struct err e = { 0 };
	uint64_t ms;

	if (value_parse_time(text, &ms, &e) < 0 || ms > 24 * 3600 * MSEC_PER_SEC)
		usage("a time is no time, or longer than a day");
	return ms * USEC_PER_MSEC;
}

static void
parse_target(const char *text)
{
	char host[64];
	const char *colon = strrchr(text, ':');

	if (!colon || (size_t)(colon - text) >= sizeof(host))
		usage("the target is not ADDRESS:PORT");
	snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
	load.to.sin_family = AF_INET;
	load.to.sin_port = htons((uint16_t)parse_number(colon + 1, 1, 65535));
	if (inet_pton(AF_INET, host, &load.to.sin_addr) != 1)
		usage("the target is no IPv4 address");
	load.to_text = text;
}

static void
parse_mode(const char *text)
{
	load.close_mode = strcmp(text, "close") == 0;
	if (!load.close_mode && strcmp(text, "keep-alive") != 0)
		usage("the mode is keep-alive or close");
}

static void
parse_args(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "mode", required_argument, NULL, 'm' },
		{ "connections", required_argument, NULL, 'c' },
		{ "seconds", required_argument, NULL, 's' },
		{ "warm-up", required_argument, NULL, 'w' },
		{ "timeout", required_argument, NULL, 't' },
		{ "path", required_argument, NULL, 'p' },
		{ "status", required_argument, NULL, 'S' },
		{ "body", required_argument, NULL, 'b' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 }
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (opt) {
		case 'm': parse_mode(optarg); break;
		case 'c': load.connections = parse_number(optarg, 1, CONNECTIONS_MAX); break;
		case 's': load.run_usec = parse_usec(optarg); break;
		case 'w': load.warm_usec = parse_usec(optarg); break;
		case 't': load.timeout_usec = parse_usec(optarg); break;
		case 'p': load.path = optarg; break;
		case 'S': load.status = parse_number(optarg, 100, 599); break;
		case 'b': load.body = parse_number(optarg, 0, INT_MAX); break;
		case 'j': load.json = true; break;
		default: usage("see below");
		}
	}
	if (optind + 1 != argc || load.run_usec == 0 || load.timeout_usec == 0)
		usage("one target, and times above 0");
	parse_target(argv[optind]);
}

int
main(int argc, char **argv)
{
	int n;

	load.path = "/";
	load.connections = 16;
	load.status = 200;
	load.body = UINT64_MAX;
	load.run_usec = 5 * USEC_PER_SEC;
	load.timeout_usec = 10 * USEC_PER_SEC;
	parse_args(argc, argv);
	n = snprintf(load.request, sizeof(load.request), "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n",
	    load.path, load.to_text, load.close_mode ? "Connection: close\r\n" : "");
	if (n < 0 || (size_t)n >= sizeof(load.request))
		usage("the path is too long");
	load.request_len = (size_t)n;
	run();
	fputs(load.json ? "{" : "", stdout);
	stats_print(&load.stats, (double)load.run_usec / 1e6, load.json);
	puts(load.json ? "}" : "");
	return 0;
}
