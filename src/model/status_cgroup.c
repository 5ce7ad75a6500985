/*
 * status_cgroup.c - see status_cgroup.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/status_cgroup.h"

#include "base/buf.h"
#include "model/status.h"
#include "model/status_lines.h"
#include "model/status_view.h"
#include "model/text.h"

#include <inttypes.h>
#include <stdio.h>

#define NEARLY_FULL 90u		/* percent of the limit from which on the line is marked */

static bool
put(json_t *o, const char *key, json_t *value)
{
	return value != NULL && json_object_set_new(o, key, value) == 0;
}

static bool
put_size(json_t *o, const char *key, bool is_known, uint64_t bytes)
{
	if (!is_known)
		return put(o, key, json_null());
	return put(o, key, json_integer(bytes > INT64_MAX ? INT64_MAX : (json_int_t)bytes));
}

static json_t *
rise_to_json(const struct status_cgroup *c)
{
	json_t *o;

	if (c->rise == NULL)
		return json_null();
	o = json_object();
	if (put(o, "part", json_string(c->rise)) &&
	    put_size(o, "from_bytes", true, c->rise_from_bytes) &&
	    put_size(o, "bytes", true, c->rise_bytes) &&
	    put(o, "seconds", json_real((double)c->rise_ms / (double)MSEC_PER_SEC)) &&
	    put(o, "text", text_to_json(c->rise_text)))
		return o;
	json_decref(o);
	return NULL;
}

json_t *
status_cgroup_to_json(const struct status_cgroup *c)
{
	json_t *o;

	if (!c->known)
		return json_null();
	o = json_object();
	if (put_size(o, "limit_bytes", c->limit_file != NULL, c->limit_bytes) &&
	    put(o, "limit_file", text_to_json(c->limit_file)) &&
	    put(o, "path", text_to_json(c->dir)) &&
	    put_size(o, "used_bytes", true, c->used_bytes) &&
	    put_size(o, "current_bytes", true, c->current_bytes) &&
	    put_size(o, "anon_bytes", c->split_known, c->anon_bytes) &&
	    put_size(o, "file_bytes", c->split_known, c->file_bytes) &&
	    put_size(o, "sock_bytes", c->split_known && c->sock_known, c->sock_bytes) &&
	    put(o, "sock_in_current", c->split_known && c->sock_known
	    ? json_boolean(c->sock_is_in_current) : json_null()) &&
	    put_size(o, "kernel_bytes", c->split_known, c->kernel_bytes) &&
	    put_size(o, "other_bytes", c->split_known, c->other_bytes) &&
	    put_size(o, "swap_bytes", c->split_known, c->swap_bytes) &&
	    put(o, "rise", rise_to_json(c)))
		return o;
	json_decref(o);
	return NULL;
}

/* ", sockets 3.0M" for a part that is known and not nothing. */
static void
put_part(struct buf *line, const json_t *cgroup, const char *key, const char *name)
{
	uint64_t bytes = view_count(cgroup, key);
	char size[STATUS_CELL_MAX];

	if (bytes > 0)
		(void)buf_printf(line, "%s%s %s", line->len > 0 ? ", " : "", name,
		    status_human_size(bytes, size));
}

void
status_put_cgroup(const json_t *cgroup, size_t width, struct buf *out)
{
	AUTO_BUF struct buf parts = BUF_INIT(STATUS_LINE_MAX / 2);
	uint64_t limit = view_count(cgroup, "limit_bytes"), used = view_count(cgroup, "used_bytes");
	const char *rise = view_text(json_object_get(cgroup, "rise"), "text");
	char size[STATUS_CELL_MAX], of[STATUS_CELL_MAX], head[4 * STATUS_CELL_MAX];

	if (!json_is_object(cgroup))
		return;
	put_part(&parts, cgroup, "anon_bytes", "heaps");
	put_part(&parts, cgroup, "file_bytes", "files");
	if (view_flag(cgroup, "sock_in_current"))
		put_part(&parts, cgroup, "sock_bytes", "sockets");
	put_part(&parts, cgroup, "kernel_bytes", "kernel");
	put_part(&parts, cgroup, "other_bytes", "other");
	if (!view_flag(cgroup, "sock_in_current"))
		put_part(&parts, cgroup, "sock_bytes", "beside it sockets");
	put_part(&parts, cgroup, "swap_bytes", "swapped out");
	if (limit > 0)
		(void)snprintf(head, sizeof(head), "%s of %s (%" PRIu64 " %%)",
		    status_human_size(used, size), status_human_size(limit, of),
		    used / MAX_OF(limit / 100, UINT64_C(1)));
	else
		(void)snprintf(head, sizeof(head), "%s, no limit", status_human_size(used, size));
	status_put_line(out, width, "%scgroup: %s%s%s",
	    limit > 0 && used / NEARLY_FULL >= limit / 100 ? "! " : "", head,
	    parts.len > 0 ? "; " : "", parts.len > 0 ? parts.data : "");
	if (rise != NULL)
		status_put_line(out, width, "! %s", rise);
}
