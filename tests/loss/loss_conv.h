/*
 * loss_conv.h - one conversation with the server: asks, checks the answer, asks again.
 *
 * Every request that was begun ends in exactly one outcome:
 *
 *	ok		complete, with status 200 and exactly the body that was asked for
 *	refused		no connection
 *	reset_before	the connection ended before the first byte of the answer
 *	reset_inside	... within the answer
 *	timeout		no complete answer within --timeout
 *	bad		complete, but not what was asked for; without Content-Length; or bytes that
 *			nobody had asked for
 *
 * Everything but ok is lost. A kept-alive connection may end while it is idle; two counters that
 * are no outcomes tell of that:
 *
 *	idle_closed	the server had kept the connection for --drain-idle without a request, as it
 *			has to, and closed it then. Seen as an end during the gap, or as an end
 *			before the first byte of an answer to a request after a gap that was longer
 *			than drain-idle: then the request is sent once more on a new connection,
 *			where its outcome is what counts. At most one for each request.
 *	closed_early	the server closed the connection before drain-idle was over, and the client
 *			noticed before it had sent a byte of its next request. No request is lost,
 *			but by luck: with a longer way to the server it would have been under way.
 *			Had the client sent a byte, this is reset_before.
 *
 * How long the server has seen a connection idle is not known exactly. It is at least the gap,
 * from the answer's last byte read to the first byte sent: what makes an end legal once a request
 * was sent. It is at most the time since the last request was sent whole: what makes an end in
 * the gap early for certain. Gaps near drain-idle should not be asked for.
 *
 * `Connection: close` in an answer is obeyed: the next request gets a new connection.
 */
#ifndef PREFORKD_LOSS_CONV_H
#define PREFORKD_LOSS_CONV_H

#include "loss_tally.h"
#include "loss_text.h"

#define HEAD_MAX 4096

enum phase {
	PHASE_NONE,		/* no connection and no request */
	PHASE_GAP,		/* a connection without a request */
	PHASE_CONNECT,		/* the queue of a unix socket is full */
	PHASE_SEND,		/* connecting, or sending the request */
	PHASE_HEAD,
	PHASE_BODY,
	PHASE_END,		/* counted; the server is about to close */
};

struct conv {
	enum kind kind;
	enum phase phase;
	int fd;
	uint64_t wake;			/* when conv_wake() is to be called */
	uint64_t start, deadline;	/* of the request */
	uint64_t asked, answered;	/* the last byte was sent; was read */
	uint64_t next;			/* when the next request begins */
	uint64_t gap;			/* before this request, on a reused connection */
	uint64_t pause;			/* until then nothing is sent or read; 0: none */
	uint64_t served;		/* answers on this connection */
	bool closes, good;
	size_t sent, have;		/* bytes of the request; of the head */
	uint64_t body_at, body_len;
	struct request request;
	char head[HEAD_MAX + 1];
};

struct loss {
	struct plan plan;
	int epoll;
	uint64_t until;			/* no request begins after it */
	struct tally tallies[KINDS];
	struct conv convs[CONVERSATIONS_MAX];
};

extern struct loss loss;

uint64_t now_usec(void);
/* The client itself has trouble: ends it with 1. */
NO_RETURN void fail(const char *what);

/* The first request begins at that time. */
void conv_init(struct conv *c, enum kind kind, uint64_t when);
/* Its descriptor is ready. */
void conv_turn(struct conv *c, uint64_t now);
/* Its time to wake has come. */
void conv_wake(struct conv *c, uint64_t now);

#endif
