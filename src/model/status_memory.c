/*
 * status_memory.c - the lines about what workers share: their mold, and the memory of all.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/status_lines.h"

#include "base/buf.h"
#include "model/status_budget.h"
#include "model/status_cgroup.h"
#include "model/status_view.h"

#include <inttypes.h>
#include <string.h>

static void
put_mold(const json_t *m, size_t width, struct buf *out)
{
	const char *state = view_text(m, "state");
	uint64_t pss = view_count(m, "pss_bytes"), rss = view_count(m, "rss_bytes");
	char size[STATUS_CELL_MAX], age[STATUS_CELL_MAX];

	status_put_line(out, width, "mold: pid %" PRIu64 ", generation %" PRIu64 ", %s, up %s, %"
	    PRIu64 " forked%s%s%s", view_count(m, "pid"), view_count(m, "generation"),
	    state == NULL ? "?" : state, status_human_time(view_seconds(m, "age_seconds"), age),
	    view_count(m, "forked"), pss + rss == 0 ? "" : ", ",
	    pss + rss == 0 ? "" : status_human_size(pss > 0 ? pss : rss, size),
	    pss > 0 ? " (PSS)" : "");
}

void
status_put_molds(const struct status_view *v, size_t width, struct buf *out)
{
	const char *text = view_text(v->preload, "text");
	uint64_t failures = view_count(v->preload, "failures");
	double next = view_seconds(v->preload, "next_attempt_seconds");
	char t[STATUS_CELL_MAX];

	for (size_t i = 0; i < json_array_size(v->molds); i++)
		put_mold(json_array_get(v->molds, i), width, out);
	if (failures > 0)
		status_put_line(out, width, "! the mold has failed %" PRIu64 " time%s, recycles "
		    "wait%s%s: %s", failures, failures == 1 ? "" : "s",
		    next > 0 ? "; next attempt in " : "",
		    next > 0 ? status_human_time(next, t) : "", text == NULL ? "?" : text);
	else if (text != NULL)
		status_put_line(out, width, "%s", text);
}

/* What there would be more of without the workers, and how much of it they share. */
void
status_put_memory(const struct status_view *v, size_t width, struct buf *out)
{
	const json_t *m = v->memory;
	uint64_t pss = view_count(m, "pss_bytes"), swap = view_count(m, "swap_bytes");
	const char *unavailable = view_text(m, "unavailable");
	char all[STATUS_CELL_MAX], own[STATUS_CELL_MAX], shared[STATUS_CELL_MAX];
	char swapped[STATUS_CELL_MAX];

	if (pss > 0)
		status_put_line(out, width, "memory: %s in all (PSS), %s private, %s shared%s%s",
		    status_human_size(pss, all), status_human_size(view_count(m, "uss_bytes"), own),
		    status_human_size(view_count(m, "shared_bytes"), shared),
		    swap == 0 ? "" : "; swapped out: ",
		    swap == 0 ? "" : status_human_size(swap, swapped));
	status_put_cgroup(json_object_get(m, "cgroup"), width, out);
	status_put_budget(m, width, out);
	if (unavailable != NULL)
		status_put_line(out, width, "memory: what is private (USS) is unavailable: %s",
		    unavailable);
}
