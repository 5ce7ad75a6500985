/*
 * status_cgroup.c - see status_cgroup.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/status_cgroup.h"

#include "base/buf.h"
#include "model/json_build.h"
#include "model/status.h"
#include "model/status_lines.h"
#include "model/status_view.h"
#include "model/text.h"

#include <inttypes.h>
#include <stdio.h>

#define NEARLY_FULL 90u		/* percent of the limit from which on the line is marked */

static json_t *
size_or_null(bool is_known, uint64_t bytes)
{
	return is_known ? build_count(bytes) : json_null();
}

static json_t *
rise_to_json(const struct status_cgroup *c)
{
	json_t *o;
	bool ok = true;

	if (c->rise == NULL)
		return json_null();
	o = json_object();
	build_put(o, "part", json_string(c->rise), &ok);
	build_put(o, "from_bytes", build_count(c->rise_from_bytes), &ok);
	build_put(o, "bytes", build_count(c->rise_bytes), &ok);
	build_put(o, "seconds", build_seconds(c->rise_ms), &ok);
	build_put(o, "text", text_to_json(c->rise_text), &ok);
	return build_done(o, ok);
}

json_t *
status_cgroup_to_json(const struct status_cgroup *c)
{
	bool split = c->split_known, ok = true;
	json_t *o;

	if (!c->known)
		return json_null();
	o = json_object();
	build_put(o, "limit_bytes", size_or_null(c->limit_file != NULL, c->limit_bytes), &ok);
	build_put(o, "limit_file", text_to_json(c->limit_file), &ok);
	build_put(o, "path", text_to_json(c->dir), &ok);
	build_put(o, "used_bytes", build_count(c->used_bytes), &ok);
	build_put(o, "current_bytes", build_count(c->current_bytes), &ok);
	build_put(o, "anon_bytes", size_or_null(split, c->anon_bytes), &ok);
	build_put(o, "file_bytes", size_or_null(split, c->file_bytes), &ok);
	build_put(o, "sock_bytes", size_or_null(split && c->sock_known, c->sock_bytes), &ok);
	build_put(o, "sock_in_current",
	    split && c->sock_known ? json_boolean(c->sock_is_in_current) : json_null(), &ok);
	build_put(o, "kernel_bytes", size_or_null(split, c->kernel_bytes), &ok);
	build_put(o, "other_bytes", size_or_null(split, c->other_bytes), &ok);
	build_put(o, "swap_bytes", size_or_null(split, c->swap_bytes), &ok);
	build_put(o, "rise", rise_to_json(c), &ok);
	return build_done(o, ok);
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
