/*
 * loss_text.c - chance, requests and the check of bodies; nothing here can fail.
 */
#include "loss_text.h"

#include "base/base.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SHARE_ALL 10000
#define UNIT_LEN (TOKEN_LEN + 1)

/* Of slow requests so many have a body, so long. */
#define POST_SHARE 3333
static const struct range post_size = { 1, 4000 };

static uint64_t chance_state = 1;
static uint32_t requests_made;

void
chance_seed(uint64_t seed)
{
	chance_state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

/* splitmix64 */
static uint64_t
chance_next(void)
{
	uint64_t z = chance_state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t
chance_between(struct range r)
{
	return r.low + chance_next() % (r.high - r.low + 1);
}

bool
chance_of(uint64_t share)
{
	return chance_next() % SHARE_ALL < share;
}

static void
body_make(const struct request *rq, char *to, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = rq->unit[i % UNIT_LEN];
}

void
request_make(struct request *rq, const struct plan *plan, enum kind kind)
{
	bool post = kind == KIND_SLOW && chance_of(POST_SHARE);
	size_t post_len = post ? (size_t)chance_between(post_size) : 0, at;
	char length[64] = "";
	int n;

	/* Counted, so that it is unique; with chance, so that neighbours differ early. */
	snprintf(rq->unit, sizeof(rq->unit), "%08" PRIx32 "%08" PRIx32 "\n",
	    (uint32_t)chance_next(), ++requests_made);
	rq->size = chance_between(kind == KIND_SLOW ? plan->slow_size : plan->size);
	rq->work = chance_of(plan->work_share) ? chance_between(plan->work) : 0;
	rq->work -= rq->work % USEC_PER_MSEC;
	if (post)
		snprintf(length, sizeof(length), "Content-Length: %zu\r\n", post_len);
	n = snprintf(rq->text, sizeof(rq->text), "%s /%s?ms=%" PRIu64 "&token=%.*s&size=%" PRIu64
	    " HTTP/1.1\r\nHost: %.64s\r\n%s%s\r\n", post ? "POST" : "GET",
	    rq->work > 0 ? "slow" : "echo", rq->work / USEC_PER_MSEC, TOKEN_LEN, rq->unit,
	    rq->size, plan->to_text, length, kind == KIND_CLOSE ? "Connection: close\r\n" : "");
	at = (size_t)n;
	body_make(rq, rq->text + at, post_len);
	rq->len = at + post_len;
}

bool
request_body_is_good(const struct request *rq, uint64_t at, const char *bytes, size_t n)
{
	size_t in_unit = (size_t)(at % UNIT_LEN);

	for (size_t i = 0; i < n; i++) {
		if (bytes[i] != rq->unit[in_unit])
			return false;
		in_unit = in_unit + 1 == UNIT_LEN ? 0 : in_unit + 1;
	}
	return true;
}
