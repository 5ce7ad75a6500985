/*
 * loss_text.h - requests of the loss client, and what their answers have to be.
 *
 * A request carries a token that no other request of the run has:
 *
 *	GET  /echo?token=T&size=N		a body of N bytes: the token and a newline, again
 *	GET  /slow?ms=M&token=T&size=N		and again, cut off at N; after M ms of work
 *	POST ...				has a body of the same making, which is checked
 *						by the application (tests/soak/app.py)
 *
 * so that an answer that belongs to somebody else is known by any byte of its body.
 */
#ifndef PREFORKD_LOSS_TEXT_H
#define PREFORKD_LOSS_TEXT_H

#include "loss_plan.h"

#include <stddef.h>

#define TOKEN_LEN 16
#define REQUEST_MAX 8192

struct request {
	char unit[TOKEN_LEN + 2];	/* token, newline, NUL */
	uint64_t size;			/* of the answer's body */
	uint64_t work;			/* the application's, asked for */
	size_t len;
	char text[REQUEST_MAX];
};

void chance_seed(uint64_t seed);
uint64_t chance_between(struct range r);
/* True for that share of the calls. */
bool chance_of(uint64_t share);

/* The next request of a conversation of that kind. */
void request_make(struct request *rq, const struct plan *plan, enum kind kind);
/* Whether these n bytes are right from that offset of the body on. */
bool request_body_is_good(const struct request *rq, uint64_t at, const char *bytes, size_t n);

#endif
