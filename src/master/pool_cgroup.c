/*
 * pool_cgroup.c - see pool_cgroup.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/pool_cgroup.h"

#include "base/log.h"
#include "model/status.h"

#include <stdio.h>
#include <string.h>

#define JUDGE_MS UINT64_C(1000)

static void
judge(struct pool_cgroup *c, uint64_t now_ms)
{
	const struct cgroup_memory *m = &c->memory;
	struct memrise_sample s = {
		.limit = m->limit_bytes,
		.used = m->used_bytes,
		.kernel_has_cache = !m->kernel_cache_known,
		.part = {
			[MEMRISE_SOCK] = m->sock_bytes,
			[MEMRISE_KERNEL] = base_less(m->kernel_bytes, m->kernel_cache_bytes),
			[MEMRISE_FILE] = base_less(m->file_bytes, m->inactive_file_bytes),
			[MEMRISE_ANON] = m->anon_bytes,
		},
	};

	if (!m->split_known)
		return;
	if (memrise_feed(&c->rise, &s, now_ms))
		log_warn("memory: %s", memrise_text(&c->rise.verdict, now_ms, c->rise_text));
}

void
pool_cgroup_read(struct pool_cgroup *c, uint64_t now_ms)
{
	const char *dir;

	c->known = cgroup_memory_read(&c->memory) == 0;
	dir = cgroup_memory_dir();
	if (dir != NULL && strcmp(dir, c->dir) != 0) {
		(void)snprintf(c->dir, sizeof(c->dir), "%s", dir);
		memrise_reset(&c->rise);
	}
	if (c->judged_ms != 0 && now_ms - c->judged_ms < JUDGE_MS)
		return;
	c->judged_ms = now_ms;
	if (c->known)
		judge(c, now_ms);
	memrise_text(&c->rise.verdict, now_ms, c->rise_text);
}

void
pool_cgroup_status(const struct pool_cgroup *c, uint64_t now_ms, struct status_cgroup *ret)
{
	const struct cgroup_memory *m = &c->memory;
	const struct memrise_verdict *v = &c->rise.verdict;

	*ret = (struct status_cgroup){
		.known = c->known,
		.dir = c->dir,
		.limit_file = m->limit_file,
		.limit_bytes = m->limit_bytes,
		.used_bytes = m->used_bytes,
		.current_bytes = m->current_bytes,
		.split_known = m->split_known,
		.anon_bytes = m->anon_bytes,
		.file_bytes = m->file_bytes,
		.kernel_bytes = m->kernel_bytes,
		.other_bytes = m->other_bytes,
		.sock_known = m->sock_known,
		.sock_is_in_current = m->sock_is_in_current,
		.sock_bytes = m->sock_bytes,
		.swap_bytes = m->swap_bytes,
		.rise = memrise_name(v->part),
		.rise_text = c->rise_text,
		.rise_from_bytes = v->from_bytes,
		.rise_bytes = v->bytes,
		.rise_ms = now_ms > v->from_ms ? now_ms - v->from_ms : 0,
	};
}
