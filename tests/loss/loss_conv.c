/*
 * loss_conv.c - one conversation. Losses are counted, never a failure; trouble of the client's
 * own (no descriptors, no local ports) ends the program.
 */
#include "loss_conv.h"

#include "../bench/load_head.h"

#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

/* A conversation that was refused begins again so much later, so as not to count millions. */
#define RETRY_USEC (10 * USEC_PER_MSEC)
/* Who finds the queue of a unix socket full tries again so much later. */
#define FULL_USEC USEC_PER_MSEC
/* A server that has announced the end of the connection gets so long to end it. */
#define END_USEC USEC_PER_SEC

/* Pieces of a slow conversation; small segments, lest the kernel wait for room for a large one. */
#define SLOW_READ 8192
#define SLOW_PIECES 4
#define SLOW_WINDOW (16 * 1024)
#define SLOW_SEGMENT 1400

static void conv_connect(struct conv *c, uint64_t now);

static struct tally *
tally_of(const struct conv *c)
{
	return &loss.tallies[c->kind];
}

/* While a request is under way: the next pause's end, or when it is given up. */
static void
conv_set_wake(struct conv *c)
{
	c->wake = c->pause > 0 ? MIN_OF(c->pause, c->deadline) : c->deadline;
}

static void
conv_rest(struct conv *c, uint64_t now)
{
	c->pause = now + chance_between(loss.plan.pause);
	conv_set_wake(c);
}

/* Ends the connection; the next request begins at c->next. */
static void
conv_close(struct conv *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->phase = PHASE_NONE;
	c->pause = 0;
	c->served = 0;
	c->wake = c->next;
}

/* For comparison with other logs; 0 for a unix socket. */
static int
conv_port(const struct conv *c)
{
	struct sockaddr_in in = { 0 };
	socklen_t len = sizeof(in);

	if (c->fd < 0 || getsockname(c->fd, (struct sockaddr *)&in, &len) < 0)
		return 0;
	return in.sin_family == AF_INET ? ntohs(in.sin_port) : 0;
}

static const char *
error_text(int err)
{
	return err ? strerror(err) : "end of file";
}

/* The request is lost. */
static void
conv_lose(struct conv *c, enum outcome outcome, int err, uint64_t now)
{
	tally_note(NOTE_LOST, "%s: %s client, port %d, request %" PRIu64 " of its connection, "
	    "gap %.1f ms, %zu of %zu bytes sent, %zu of head and %" PRIu64 " of body read, "
	    "%.1f ms after its start: %s", outcome_names[outcome], kind_names[c->kind],
	    conv_port(c), c->served + 1, (double)c->gap / 1e3, c->sent, c->request.len, c->have,
	    c->body_at, (double)(now - c->start) / 1e3, error_text(err));
	tally_of(c)->stats.counts[outcome]++;
	c->next = now + RETRY_USEC;
	conv_close(c);
}

/* The connection ended in a gap. */
static void
conv_idle_end(struct conv *c, int err, uint64_t now)
{
	if (now - c->asked >= loss.plan.drain_idle) {
		tally_of(c)->idle_closed++;
	} else {
		tally_of(c)->closed_early++;
		tally_note(NOTE_EARLY, "closed_early: %s client, port %d, after %" PRIu64
		    " requests, %.1f ms after the last one was sent: %s", kind_names[c->kind],
		    conv_port(c), c->served, (double)(now - c->asked) / 1e3, error_text(err));
	}
	conv_close(c);
}

/* The connection is gone; err is 0 for an orderly end. */
static void
conv_gone(struct conv *c, int err, uint64_t now)
{
	if (c->phase == PHASE_END) {
		conv_close(c);
	} else if (c->phase == PHASE_GAP) {
		conv_idle_end(c, err, now);
	} else if (c->served == 0 && c->phase == PHASE_SEND &&
	    (err == ECONNREFUSED || err == EHOSTUNREACH || err == ENOENT)) {
		conv_lose(c, REFUSED, err, now);
	} else if (err == ETIMEDOUT) {
		conv_lose(c, TIMEOUT, err, now);
	} else if (c->have > 0) {
		conv_lose(c, RESET_INSIDE, err, now);
	} else if (c->served > 0 && c->gap >= loss.plan.drain_idle) {
		/* Once for each request: the next connection is a new one. */
		tally_of(c)->idle_closed++;
		conv_close(c);
		conv_connect(c, now);
	} else {
		conv_lose(c, RESET_BEFORE, err, now);
	}
}

/* Sends what may go now; false when the rest has to wait or the connection is gone. */
static bool
conv_send(struct conv *c, uint64_t now)
{
	const bool slow = c->kind == KIND_SLOW;
	size_t len = c->request.len - c->sent;
	ssize_t n;

	if (slow)
		len = MIN_OF(len, c->request.len / SLOW_PIECES + 1);
	n = send(c->fd, c->request.text + c->sent, len, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != ENOTCONN) {
		conv_gone(c, errno, now);
		return false;
	}
	c->sent += n > 0 ? (size_t)n : 0;
	if (c->sent < c->request.len) {
		if (slow && n > 0)
			conv_rest(c, now);
		return false;
	}
	c->asked = now;
	c->phase = PHASE_HEAD;
	return true;
}

/* On a connection that is there or being made. */
static void
conv_begin(struct conv *c, uint64_t now)
{
	c->phase = PHASE_SEND;
	c->sent = c->have = 0;
	c->body_at = 0;
	c->pause = 0;
	conv_set_wake(c);
	conv_turn(c, now);
}

static void
conv_connect(struct conv *c, uint64_t now)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
	    .data.ptr = c };
	const bool tcp = loss.plan.to.any.sa_family == AF_INET;
	const int on = 1, window = SLOW_WINDOW, segment = SLOW_SEGMENT;

	c->phase = PHASE_SEND;
	c->sent = c->have = 0;
	c->gap = 0;
	c->fd = socket(loss.plan.to.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		fail("socket");
	if (tcp && setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
		fail("TCP_NODELAY");
	if (tcp && c->kind == KIND_SLOW &&
	    (setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof(window)) < 0 ||
	    setsockopt(c->fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof(segment)) < 0))
		fail("SO_RCVBUF, TCP_MAXSEG");
	if (connect(c->fd, &loss.plan.to.any, loss.plan.to_len) < 0 && errno != EINPROGRESS) {
		if (errno == EADDRNOTAVAIL)
			fail("connect");
		if (errno != EAGAIN) {
			conv_gone(c, errno, now);
			return;
		}
		conv_close(c);
		c->phase = PHASE_CONNECT;
		c->wake = MIN_OF(now + FULL_USEC, c->deadline);
		return;
	}
	tally_of(c)->stats.connects++;
	if (epoll_ctl(loss.epoll, EPOLL_CTL_ADD, c->fd, &ev) < 0)
		fail("epoll_ctl");
	if (c->kind == KIND_SLOW) {
		/* Nothing at first: the server holds a connection that has not asked yet. */
		c->body_at = 0;
		conv_rest(c, now);
	} else {
		conv_begin(c, now);
	}
}

static void
conv_ask(struct conv *c, uint64_t now)
{
	ssize_t n;
	char byte;

	if (c->phase == PHASE_GAP) {
		n = recv(c->fd, &byte, 1, MSG_PEEK);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			conv_idle_end(c, n < 0 ? errno : 0, now);
	}
	request_make(&c->request, &loss.plan, c->kind);
	tally_of(c)->requests++;
	c->start = now;
	c->deadline = now + loss.plan.timeout;
	c->gap = c->phase == PHASE_GAP ? now - c->answered : 0;
	if (c->phase == PHASE_GAP)
		conv_begin(c, now);
	else
		conv_connect(c, now);
}

/* The answer is complete. */
static void
conv_finish(struct conv *c, uint64_t now)
{
	struct tally *t = tally_of(c);
	uint64_t gap, took = now - c->start - MIN_OF(c->request.work, now - c->start);

	if (!c->good) {
		conv_lose(c, BAD, EBADMSG, now);
		return;
	}
	t->stats.counts[OK]++;
	stats_add(&t->stats, took);
	if (took >= loss.plan.late)
		tally_note(NOTE_LATE, "late: %s client, port %d, request %" PRIu64 " of its "
		    "connection, gap %.1f ms, answered after %.1f ms, sent after %.1f ms",
		    kind_names[c->kind], conv_port(c), c->served + 1, (double)c->gap / 1e3,
		    (double)took / 1e3, (double)(c->asked - c->start) / 1e3);
	c->served++;
	c->answered = now;
	gap = chance_between(c->kind != KIND_CLOSE && chance_of(loss.plan.long_share) ?
	    loss.plan.long_gap : loss.plan.gap);
	c->next = now + gap;
	c->pause = 0;
	c->phase = c->closes ? PHASE_END : PHASE_GAP;
	c->wake = c->closes ? now + END_USEC : c->next;
}

static void
conv_body(struct conv *c, const char *bytes, size_t n, uint64_t now)
{
	if (n > c->body_len - c->body_at) {
		conv_lose(c, BAD, EMSGSIZE, now);
		return;
	}
	if (!request_body_is_good(&c->request, c->body_at, bytes, n))
		c->good = false;
	c->body_at += n;
	if (c->body_at == c->body_len)
		conv_finish(c, now);
}

static void
conv_head(struct conv *c, size_t n, uint64_t now)
{
	struct head head;
	char *end;
	size_t used;

	c->have += n;
	c->head[c->have] = '\0';
	end = strstr(c->head, "\r\n\r\n");
	if (!end) {
		if (c->have == HEAD_MAX)
			conv_lose(c, BAD, EMSGSIZE, now);
		return;
	}
	*end = '\0';
	used = (size_t)(end - c->head) + 4;
	if (head_parse(c->head, &head) < 0 || head.status != 200 ||
	    head.length != c->request.size) {
		c->head[strcspn(c->head, "\r")] = '\0';
		tally_note(NOTE_LOST, "unwanted answer: %s", c->head);
		conv_lose(c, BAD, EBADMSG, now);
		return;
	}
	c->body_at = 0;
	c->body_len = head.length;
	c->closes = c->kind == KIND_CLOSE || head.closes;
	c->good = true;
	c->phase = PHASE_BODY;
	conv_body(c, c->head + used, c->have - used, now);
}

/* Takes one buffer full; false when nothing is there, or the connection is gone. A short read
 * is no end: what follows may be the end of the connection, of which no other event tells. */
static bool
conv_receive(struct conv *c, uint64_t now)
{
	static char bytes[64 * 1024];
	const bool slow = c->kind == KIND_SLOW && c->phase == PHASE_BODY;
	bool head = c->phase == PHASE_HEAD;
	size_t room = head ? HEAD_MAX - c->have : slow ? SLOW_READ : sizeof(bytes);
	ssize_t n;

	n = recv(c->fd, head ? c->head + c->have : bytes, room, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		conv_gone(c, n < 0 ? errno : 0, now);
		return false;
	}
	if (head) {
		conv_head(c, (size_t)n, now);
	} else if (c->phase == PHASE_BODY) {
		conv_body(c, bytes, (size_t)n, now);
	} else if (c->phase == PHASE_GAP) {
		/* What nobody has asked for would have been the answer to the next request. */
		tally_of(c)->requests++;
		c->start = now;
		conv_lose(c, BAD, EBADMSG, now);
	}
	if (slow && c->phase == PHASE_BODY)
		conv_rest(c, now);
	return c->fd >= 0 && c->pause == 0;
}

/* Edge-triggered: goes on until there is nothing to send and nothing to read. */
void
conv_turn(struct conv *c, uint64_t now)
{
	bool more = c->fd >= 0 && c->pause == 0;

	while (more)
		more = c->phase == PHASE_SEND ? conv_send(c, now) : conv_receive(c, now);
}

void
conv_wake(struct conv *c, uint64_t now)
{
	switch (c->phase) {
	case PHASE_NONE:
	case PHASE_GAP:
		if (now < loss.until) {
			conv_ask(c, now);
		} else {
			conv_close(c);
			c->wake = UINT64_MAX;
		}
		break;
	case PHASE_END:
		conv_close(c);
		break;
	case PHASE_CONNECT:
		if (now >= c->deadline)
			conv_lose(c, TIMEOUT, EAGAIN, now);
		else
			conv_connect(c, now);
		break;
	case PHASE_SEND:
	case PHASE_HEAD:
	case PHASE_BODY:
		if (now >= c->deadline) {
			conv_lose(c, TIMEOUT, ETIMEDOUT, now);
		} else {
			c->pause = 0;
			conv_set_wake(c);
			conv_turn(c, now);
		}
		break;
	}
}

void
conv_init(struct conv *c, enum kind kind, uint64_t when)
{
	c->kind = kind;
	c->fd = -1;
	c->next = when;
	conv_close(c);
}
