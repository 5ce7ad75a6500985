/*
 * client.h - preforkctl's end of the control socket.
 *
 * One connection, one call at a time, every wait with a deadline. Prints nothing.
 */
#ifndef PREFORKD_CLIENT_H
#define PREFORKD_CLIENT_H

#include "base/base.h"
#include "base/buf.h"
#include "base/err.h"

#include <jansson.h>

struct client {
	int fd;			/* -1: not connected */
	pid_t peer;		/* who listens there, 0: not known */
	struct buf in;
};

/* 0; -ENOENT and -ECONNREFUSED: nobody is there; -EACCES; -ETIMEDOUT; other negative
 * errno. e names the path. */
int client_connect(struct client *c, const char *path, uint64_t deadline_ms, struct err *e);
void client_close(struct client *c);

struct client_call {
	const char *method;		/* of our interface, without its name */
	json_t *parameters;		/* borrowed, may be NULL */
	bool is_oneway;
	/* Called for each progress text; asks for more than one answer when set. */
	void (*on_progress)(const char *text);
	/* Called for the parameters of each answer before the last one; likewise. Negative errno:
	 * give up. */
	int (*on_part)(void *ctx, const json_t *parameters);
	void *ctx;
};

struct client_answer {
	json_t *message;		/* owned */
	const char *error;		/* NULL: done. Else the name, ours without interface */
	const json_t *parameters;	/* may be NULL */
};

/*
 * 0: it was answered, *ret (client_answer_done) says how; nothing is written to it for a
 * oneway call. -ETIMEDOUT; -ECONNRESET: the other side closed; other negative errno.
 */
int client_call(struct client *c, const struct client_call *call, uint64_t deadline_ms,
    struct client_answer *ret, struct err *e);
void client_answer_done(struct client_answer *a);

/* Waits until the other side closes. 0, -ETIMEDOUT, other negative errno. */
int client_wait_closed(struct client *c, uint64_t deadline_ms);

#endif
