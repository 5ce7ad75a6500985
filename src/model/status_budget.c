/*
 * status_budget.c - see status_budget.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/status_budget.h"

#include "base/buf.h"
#include "model/governor.h"
#include "model/json_build.h"
#include "model/status_lines.h"
#include "model/status_view.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

json_t *
status_budget_to_json(const struct status_budget *b)
{
	json_t *o;
	bool ok = true;

	if (b->limit_bytes == 0)
		return json_null();
	o = json_object();
	build_put(o, "limit_bytes", build_count(b->limit_bytes), &ok);
	build_put(o, "high_bytes", build_count(b->high_bytes), &ok);
	build_put(o, "used_bytes", build_count(b->used_bytes), &ok);
	build_put(o, "workers_bytes", build_count(b->workers_bytes), &ok);
	build_put(o, "others_bytes", b->others_known ? build_count(b->others_bytes) : json_null(),
	    &ok);
	build_put(o, "by_others", json_boolean(b->by_others), &ok);
	build_put(o, "futile", json_boolean(b->futile), &ok);
	build_put(o, "workers_fit", b->fit != 0 ? build_count(b->fit) : json_null(), &ok);
	return build_done(o, ok);
}

json_t *
status_trims_to_json(const struct status_trims *t)
{
	json_t *o = json_object();
	bool ok = true;

	build_put(o, "asked", build_count(t->asked), &ok);
	build_put(o, "given_back_bytes", build_count(t->given_back_bytes), &ok);
	build_put(o, "off_seconds", t->off_ms == 0 ? json_null() : build_seconds(t->off_ms), &ok);
	return build_done(o, ok);
}

static json_t *
futile_to_json(const struct status_futile *f)
{
	json_t *o = json_object();
	bool ok = true;

	build_put(o, "key", json_string(f->key), &ok);
	build_put(o, "limit_bytes", build_count(f->limit_bytes), &ok);
	build_put(o, "fresh_bytes", build_count(f->fresh_bytes), &ok);
	build_put(o, "suggest_bytes", build_count(f->suggest_bytes), &ok);
	return build_done(o, ok);
}

json_t *
status_futile_to_json(const struct status_futile *f, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n && list != NULL; i++)
		list = build_append(list, futile_to_json(&f[i]));
	return list;
}

void
status_put_budget(const json_t *memory, size_t width, struct buf *out)
{
	const json_t *b = json_object_get(memory, "budget"), *t = json_object_get(memory, "trims");
	struct gov_budget budget = {
		.limit = view_count(b, "limit_bytes"), .high = view_count(b, "high_bytes"),
	};
	bool by_others = view_flag(b, "by_others");
	char used[STATUS_CELL_MAX], all[STATUS_CELL_MAX], high[STATUS_CELL_MAX];
	char ours[STATUS_CELL_MAX], time[STATUS_CELL_MAX];

	if (budget.limit > 0)
		status_put_line(out, width, "%smemory-limit: %s of %s used, %s by workers; workers "
		    "are replaced from %s on", by_others || view_flag(b, "futile") ? "! " : "",
		    status_human_size(view_count(b, "used_bytes"), used),
		    status_human_size(budget.limit, all),
		    status_human_size(view_count(b, "workers_bytes"), ours),
		    status_human_size(by_others ? governor_last(&budget) : budget.high, high));
	if (by_others)
		status_put_line(out, width, "! memory-limit: others have filled it, so workers are "
		    "replaced later than from memory-high on");
	if (view_flag(b, "futile"))
		status_put_line(out, width, "! memory-limit: replacing workers gains nothing, they "
		    "need as much; give them more memory, or have fewer of them");
	if (view_flag(memory, "pressure"))
		status_put_line(out, width, "! memory pressure: processes wait for memory");
	if (view_seconds(t, "off_seconds") > 0.0)
		status_put_line(out, width, "trims: they have helped too little, nobody is asked "
		    "for another %s", status_human_time(view_seconds(t, "off_seconds"), time));
}

static void
put_futile(const json_t *f, size_t width, struct buf *out)
{
	const char *key = view_text(f, "key");
	uint64_t number[] = { view_count(f, "limit_bytes"), view_count(f, "fresh_bytes"),
		view_count(f, "suggest_bytes") };
	char text[ARRAY_LEN(number)][STATUS_CELL_MAX];

	if (key == NULL)
		return;
	for (size_t i = 0; i < ARRAY_LEN(number); i++) {
		if (strstr(key, "fds") != NULL)
			(void)snprintf(text[i], STATUS_CELL_MAX, "%" PRIu64, number[i]);
		else
			status_human_size(number[i], text[i]);
	}
	status_put_line(out, width, "! %s = %s cannot help and is not obeyed: a fresh worker uses %s;"
	    " set it to %s or more and reload", key, text[0], text[1], text[2]);
}

void
status_put_futile(const json_t *list, size_t width, struct buf *out)
{
	for (size_t i = 0; i < json_array_size(list); i++)
		put_futile(json_array_get(list, i), width, out);
}
