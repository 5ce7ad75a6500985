/*
 * limit.h - a limit on memory as a person writes it: a size, a multiple of what a fresh worker
 * needs, or a share of what the cgroup may have. Pure.
 *
 * The last two become bytes only where these are known, and follow them when they change.
 */
#ifndef PREFORKD_LIMIT_H
#define PREFORKD_LIMIT_H

#include "base/base.h"
#include "base/err.h"

struct buf;

enum limit_kind {
	LIMIT_OFF,
	LIMIT_AUTO,		/* only for a setting that knows what to do then */
	LIMIT_SIZE,		/* value: bytes, or a count of things that are no bytes */
	LIMIT_FRESH,		/* value: hundredths of a fresh worker's */
	LIMIT_PERCENT,		/* value: of the whole */
};

/* All zero: off. */
struct limit {
	enum limit_kind kind;
	uint64_t value;
};

#define LIMIT_FRESH_MIN UINT64_C(110)	/* hundredths */
#define LIMIT_FRESH_MAX UINT64_C(10000)

static inline struct limit
limit_size(uint64_t value)
{
	return (struct limit){ .kind = value != 0 ? LIMIT_SIZE : LIMIT_OFF, .value = value };
}

static inline bool
limit_is_equal(struct limit a, struct limit b)
{
	return a.kind == b.kind && a.value == b.value;
}

/* In bytes; 0: off, or what it is a share of (0) is not known. */
uint64_t limit_bytes(struct limit l, uint64_t fresh, uint64_t whole);

/* "300M", "2.5x", "80%". The range of a size is the caller's to check. Returns 0, or -EINVAL or
 * -ERANGE with e. */
int limit_parse(const char *text, struct limit *ret, struct err *e);
/* Appends what limit_parse reads back to the same; "0" for off, "auto". 0 or -ENOMEM. */
int limit_print(struct limit l, struct buf *out);

#endif
