/*
 * status_budget.h - the memory that there is for all, and the limits that cannot help: as JSON and
 * as lines of the table. Pure.
 */
#ifndef PREFORKD_STATUS_BUDGET_H
#define PREFORKD_STATUS_BUDGET_H

#include "base/base.h"

#include <jansson.h>

struct buf;
struct status_view;

struct status_budget {
	uint64_t limit_bytes;		/* 0: there is none; the rest means nothing then */
	uint64_t high_bytes;
	uint64_t used_bytes;
	uint64_t workers_bytes;		/* of used: what workers have of their own */
	bool others_known;
	uint64_t others_bytes;		/* of used, when all was calm */
	bool by_others;			/* above high, but not for what workers have grown */
	bool futile;			/* above high, and replacing workers gains nothing */
	uint64_t fit;			/* fresh workers that have room, 0: not known */
	bool pressure;			/* processes wait for memory now, or did a moment ago */
};

struct status_trims {
	uint64_t asked;
	uint64_t given_back_bytes;
	uint64_t off_ms;		/* nobody is asked for so long, 0: somebody may be */
};

/* A limit that is not obeyed, since it would replace workers for nothing. */
struct status_futile {
	const char *key;
	uint64_t limit_bytes;		/* counts, for descriptors */
	uint64_t fresh_bytes;		/* what a fresh worker needs */
	uint64_t suggest_bytes;
};

/* New references, NULL when memory ran out. */
json_t *status_budget_to_json(const struct status_budget *b);
json_t *status_trims_to_json(const struct status_trims *t);
json_t *status_futile_to_json(const struct status_futile *f, size_t n);

/* Lines of the table. */
void status_put_budget(const json_t *memory, size_t width, struct buf *out);
void status_put_futile(const json_t *list, size_t width, struct buf *out);

#endif
