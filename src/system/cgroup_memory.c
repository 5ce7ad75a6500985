/*
 * cgroup_memory.c - see cgroup_memory.h.
 *
 * Files that differ between kernels are optional: a group is one that has a limit and a usage.
 * Everything else is left out of what is told.
 *
 * SPDX-License-Identifier: MIT
 */
#include "system/cgroup_memory.h"

#include "system/cgroup.h"
#include "system/clock.h"
#include "system/procmem.h"
#include "system/proctext.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define STAT_MAX   16384
#define LEVELS_MAX 64		/* of a tree, from our group up */
/* v1 writes "none" as the largest number of whole pages that a long holds. */
#define LIMIT_MAX  (UINT64_C(1) << 62)

/* What is kept open of the group. */
enum file { F_CURRENT, F_STAT, F_LIMIT, F_HIGH, F_SWAP, F_SWAP_LIMIT, F_KERNEL, F_SOCK,
	F_SOCK_LIMIT, F_N };

static const char *const names_v2[F_N] = {
	[F_CURRENT] = "memory.current", [F_STAT] = "memory.stat", [F_LIMIT] = "memory.max",
	[F_HIGH] = "memory.high", [F_SWAP] = "memory.swap.current",
	[F_SWAP_LIMIT] = "memory.swap.max",
};

static const char *const names_v1[F_N] = {
	[F_CURRENT] = "memory.usage_in_bytes", [F_STAT] = "memory.stat",
	[F_LIMIT] = "memory.limit_in_bytes", [F_SWAP_LIMIT] = "memory.memsw.limit_in_bytes",
	[F_KERNEL] = "memory.kmem.usage_in_bytes", [F_SOCK] = "memory.kmem.tcp.usage_in_bytes",
	[F_SOCK_LIMIT] = "memory.kmem.tcp.limit_in_bytes",
};

/* Of the machine's root group in v1: its limit means nothing, and its use is everybody's. */
#define ROOT_ONLY_V1 "release_agent"

static struct {
	bool found;
	uint64_t looked_ms;		/* 0: never */
	struct cgroup_place place;
	int fd[F_N];
} group = { .fd = { [0 ... F_N - 1] = -1 } };

static uint64_t machine_bytes;

static const char *const *
names_of(const struct cgroup_place *p)
{
	return p->is_v2 ? names_v2 : names_v1;
}

static void
lose(void)
{
	for (size_t i = 0; i < F_N; i++)
		base_close_p(&group.fd[i]);
	group.found = false;
}

void
cgroup_memory_forget(void)
{
	lose();
	group.looked_ms = 0;
	machine_bytes = 0;
}

const char *
cgroup_memory_dir(void)
{
	return group.found ? group.place.dir : NULL;
}

uint64_t
cgroup_machine_bytes(void)
{
	char path[PATH_MAX], text[4096];
	AUTO_CLOSE int fd = -1;
	uint64_t kb;
	ssize_t n;

	if (machine_bytes > 0)
		return machine_bytes;
	snprintf(path, sizeof(path), "%s/meminfo", procmem_root);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text));
	if (n > 0 && proctext_kb(text, (size_t)n, "MemTotal:", &kb) == 0 && kb <= UINT64_MAX / 1024)
		machine_bytes = kb * 1024;
	return machine_bytes;
}

/* A limit that can be reached before the machine's memory is used up. One that is as large may be
 * all that the container is told of the machine (lxcfs). */
static uint64_t
effective(uint64_t limit)
{
	uint64_t machine = cgroup_machine_bytes();

	return limit >= LIMIT_MAX || (machine > 0 && limit > machine)
	    ? PROCTEXT_UNLIMITED : limit;
}

static ssize_t
read_again(int fd, char *dst, size_t len)
{
	ssize_t n;

	do {
		n = pread(fd, dst, len, 0);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static int
read_number(int fd, uint64_t *ret)
{
	char text[64];
	ssize_t n;

	if (fd < 0)
		return -ENOENT;
	n = read_again(fd, text, sizeof(text));
	if (n < 0)
		return (int)n;
	return proctext_number(text, (size_t)n, ret);
}

/* A number of a place that is not kept open. */
static int
place_number(const struct cgroup_place *p, enum file f, uint64_t *ret)
{
	char text[64];
	ssize_t n;

	if (!names_of(p)[f])
		return -ENOENT;
	n = cgroup_read(p, names_of(p)[f], text, sizeof(text));
	if (n < 0)
		return (int)n;
	return proctext_number(text, (size_t)n, ret);
}

static bool
is_machine_root(const struct cgroup_place *p)
{
	char path[PATH_MAX + 64];

	if (p->is_v2 || strlen(p->dir) != p->mount_len)
		return false;
	snprintf(path, sizeof(path), "%s/%s", p->dir, ROOT_ONLY_V1);
	return access(path, F_OK) == 0;
}

/* Keeps the files of the place open. */
static int
keep(const struct cgroup_place *p)
{
	lose();
	for (size_t i = 0; i < F_N; i++) {
		char path[PATH_MAX + 64];
		const char *name = names_of(p)[i];

		if (!name)
			continue;
		snprintf(path, sizeof(path), "%s/%s", p->dir, name);
		group.fd[i] = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (group.fd[F_CURRENT] < 0) {
		lose();
		return -ENOENT;
	}
	group.place = *p;
	group.found = true;
	return 0;
}

/* From our own group up to the mount: the place with the lowest limit, or our own when there is
 * none. -ENOENT when no level has a usage. */
static int
tightest(struct cgroup_place *p, struct cgroup_place *ret)
{
	uint64_t best = PROCTEXT_UNLIMITED;
	bool any = false;

	for (unsigned level = 0; level < LEVELS_MAX && !is_machine_root(p); level++) {
		uint64_t limit, high, current;

		if (place_number(p, F_CURRENT, &current) == 0) {
			if (place_number(p, F_LIMIT, &limit) < 0)
				limit = PROCTEXT_UNLIMITED;
			if (place_number(p, F_HIGH, &high) == 0)
				limit = MIN_OF(limit, high);
			limit = effective(limit);
			if (!any || (limit != PROCTEXT_UNLIMITED && limit <= best)) {
				*ret = *p;
				best = limit;
			}
			any = true;
		}
		if (!cgroup_ascend(p))
			break;
	}
	return any ? 0 : -ENOENT;
}

int
cgroup_memory_find(void)
{
	struct cgroup_place own, best;

	group.looked_ms = clock_now_ms();
	for (unsigned i = 0; cgroup_find("memory", i, &own) == 0; i++)
		if (tightest(&own, &best) == 0)
			return keep(&best);
	lose();
	return -ENOENT;
}

static uint64_t
keyed(const char *text, size_t len, const char *key)
{
	uint64_t v;

	return proctext_keyed(text, len, key, &v) == 0 ? v : 0;
}

int
cgroup_memory_parse(const char *text, size_t len, bool is_v2, struct cgroup_memory *m,
    uint64_t *limit)
{
	uint64_t inactive, own_limit;

	/* the last line is whole, and this one is in every kernel's */
	if (len == 0 || text[len - 1] != '\n' || proctext_keyed(text, len,
	    is_v2 ? "inactive_file" : "total_inactive_file", &inactive) < 0)
		return -EBADMSG;
	m->split_known = true;
	m->inactive_file_bytes = inactive;
	m->active_file_bytes = keyed(text, len, is_v2 ? "active_file" : "total_active_file");
	if (!is_v2) {
		m->anon_bytes = keyed(text, len, "total_rss");
		m->file_bytes = keyed(text, len, "total_cache");
		m->swap_bytes = keyed(text, len, "total_swap");
		if (proctext_keyed(text, len, "hierarchical_memory_limit", &own_limit) == 0)
			*limit = MIN_OF(*limit, own_limit);
		return 0;
	}
	m->anon_bytes = keyed(text, len, "anon");
	m->file_bytes = keyed(text, len, "file");
	m->kernel_cache_known = proctext_keyed(text, len, "slab_reclaimable",
	    &m->kernel_cache_bytes) == 0;
	m->sock_known = m->sock_is_in_current = true;
	m->sock_bytes = keyed(text, len, "sock");
	/* one sum since Linux 5.18, its larger parts before */
	if (proctext_keyed(text, len, "kernel", &m->kernel_bytes) < 0 &&
	    (__builtin_add_overflow(keyed(text, len, "kernel_stack"), keyed(text, len, "slab"),
	    &m->kernel_bytes) || __builtin_add_overflow(m->kernel_bytes,
	    keyed(text, len, "pagetables"), &m->kernel_bytes) ||
	    __builtin_add_overflow(m->kernel_bytes, keyed(text, len, "percpu"), &m->kernel_bytes)))
		return -EBADMSG;
	return 0;
}

void
cgroup_memory_derive(struct cgroup_memory *m)
{
	m->used_bytes = m->current_bytes;
	m->other_bytes = 0;
	if (!m->split_known)
		return;
	/* the counters are not of one moment: their sum may exceed what they are parts of */
	m->used_bytes = base_less(m->current_bytes, m->inactive_file_bytes);
	m->other_bytes = base_less(m->current_bytes, m->anon_bytes);
	m->other_bytes = base_less(m->other_bytes, m->file_bytes);
	m->other_bytes = base_less(m->other_bytes, m->kernel_bytes);
	if (m->sock_is_in_current)
		m->other_bytes = base_less(m->other_bytes, m->sock_bytes);
}

/* v1 has its own files for what v2 has in memory.stat. */
static void
read_v1(struct cgroup_memory *m, uint64_t own_limit)
{
	uint64_t n, sock_limit;

	if (read_number(group.fd[F_KERNEL], &n) == 0)
		m->kernel_bytes = n;
	if (read_number(group.fd[F_SOCK], &n) == 0) {
		m->sock_bytes = n;
		/* the kernel counts once a limit was set, be it "none" */
		m->sock_known = n > 0 || (read_number(group.fd[F_SOCK_LIMIT], &sock_limit) == 0 &&
		    effective(sock_limit) != PROCTEXT_UNLIMITED);
	}
	if (read_number(group.fd[F_SWAP_LIMIT], &n) == 0 && effective(n) != PROCTEXT_UNLIMITED &&
	    own_limit != PROCTEXT_UNLIMITED)
		m->swap_limit_bytes = base_less(n, own_limit);
}

static int
read_group(struct cgroup_memory *ret)
{
	static char text[STAT_MAX];
	bool is_v2 = group.place.is_v2;
	struct cgroup_memory m = { .swap_limit_bytes = PROCTEXT_UNLIMITED };
	uint64_t limit = PROCTEXT_UNLIMITED, all = PROCTEXT_UNLIMITED, own_limit, n;
	int r = read_number(group.fd[F_CURRENT], &m.current_bytes);
	ssize_t len;

	if (r < 0)
		return r;
	m.limit_file = names_of(&group.place)[F_LIMIT];
	if (read_number(group.fd[F_LIMIT], &n) == 0)
		limit = n;
	own_limit = limit;
	if (read_number(group.fd[F_HIGH], &n) == 0 && n < limit) {
		limit = n;
		m.limit_file = names_of(&group.place)[F_HIGH];
	}
	len = group.fd[F_STAT] < 0 ? -1 : read_again(group.fd[F_STAT], text, sizeof(text));
	if (len > 0)
		(void)cgroup_memory_parse(text, (size_t)len, is_v2, &m, &all);
	if (all < limit) {
		limit = all;
		m.limit_file = "hierarchical_memory_limit";
	}
	if (is_v2) {
		if (read_number(group.fd[F_SWAP], &n) == 0)
			m.swap_bytes = n;
		if (read_number(group.fd[F_SWAP_LIMIT], &n) == 0)
			m.swap_limit_bytes = n;
	} else {
		read_v1(&m, own_limit);
	}
	limit = effective(limit);
	if (limit == PROCTEXT_UNLIMITED)
		m.limit_file = NULL;
	else
		m.limit_bytes = MAX_OF(limit, UINT64_C(1));
	cgroup_memory_derive(&m);
	*ret = m;
	return 0;
}

int
cgroup_memory_read(struct cgroup_memory *ret)
{
	if (group.looked_ms == 0 ||
	    clock_now_ms() - group.looked_ms >= CGROUP_MEMORY_RECHECK_MS)
		(void)cgroup_memory_find();
	if (!group.found)
		return -ENOENT;
	if (read_group(ret) == 0)
		return 0;
	/* a removed group answers with ENODEV; we may be in another one by now */
	if (cgroup_memory_find() < 0)
		return -ENOENT;
	return read_group(ret) == 0 ? 0 : -ENOENT;
}
