/*
 * upstream.h - preforkd-http's connection to the master.
 *
 * One call at a time, each with a deadline. A master that did not answer in time still
 * owes its answer: until that has come, further calls fail at once, and when it comes it
 * is thrown away. So a hung master costs one wait, and no answer is ever taken for that
 * of another call.
 */
#ifndef PREFORKD_UPSTREAM_H
#define PREFORKD_UPSTREAM_H

#include "base/base.h"
#include "base/buf.h"

#include <jansson.h>

#define UPSTREAM_TIMEOUT_MS UINT64_C(2000)

struct upstream {
	int fd;			/* borrowed */
	uint64_t timeout_ms;
	bool owes_answer;
	int broken;		/* 0, or the negative errno that ended it for good */
	struct buf in;
};

void upstream_init(struct upstream *u, int fd);
void upstream_fini(struct upstream *u);

/*
 * method: of our interface, without its name. 0: *ret is the owned answer's parameters,
 * maybe NULL; -ETIMEDOUT; -EREMOTEIO: the master answered with an error; others: the
 * connection is of no use any more (u->broken).
 */
int upstream_call(struct upstream *u, const char *method, json_t **ret);

/* Takes what has come in between calls. 0, or u->broken: -ECONNRESET when the master has
 * closed the connection. */
int upstream_check(struct upstream *u);

#endif
