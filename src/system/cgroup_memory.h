/*
 * cgroup_memory.h - the memory of our control group: its limit, its use, and what it is made of.
 *
 * The limit is the lowest one of our group and its ancestors, as far as they can be seen; the use is
 * that of the group which has this limit, other processes in it included. Of two equal limits the
 * ancestor's counts, since it is reached first. A limit is
 *
 *     v2   memory.max, or memory.high where that is lower: above it everybody is throttled
 *     v1   memory.limit_in_bytes, or hierarchical_memory_limit where that is lower: it knows of
 *          ancestors that a container cannot see
 *
 * One that is above the machine's RAM limits nothing, and counts as none. Limits of memory and
 * swap together (v1 memory.memsw.limit_in_bytes) are never below the one of memory.
 *
 * The tree is looked at again when a file of the group cannot be read any more, and every
 * CGROUP_MEMORY_RECHECK_MS; meanwhile only the group's own limit is read, with its use, through
 * descriptors that stay open. Never logs. Roots as in cgroup.h and procmem.h.
 */
#ifndef PREFORKD_CGROUP_MEMORY_H
#define PREFORKD_CGROUP_MEMORY_H

#include "base/base.h"

#define CGROUP_MEMORY_RECHECK_MS UINT64_C(10000)

/* Sizes in bytes. */
struct cgroup_memory {
	uint64_t limit_bytes;		/* 0: none */
	const char *limit_file;		/* "memory.max"; NULL: no limit. Static. */
	uint64_t used_bytes;		/* what cannot be had back for nothing: current - inactive_file */
	uint64_t current_bytes;		/* what the kernel compares with the limit */
	uint64_t swap_bytes;
	uint64_t swap_limit_bytes;	/* what may be swapped out, UINT64_MAX: no limit is known */
	bool split_known;		/* the rest; without it used is current */
	uint64_t anon_bytes;		/* heaps and stacks of processes */
	uint64_t file_bytes;		/* page cache, tmpfs, shared anonymous memory */
	uint64_t inactive_file_bytes;	/* of it, what is dropped first */
	uint64_t active_file_bytes;	/* of it, what is dropped before anybody is killed */
	uint64_t kernel_bytes;		/* slab, kernel stacks, page tables, percpu */
	/* Of it names and inodes of files. Most of that is dropped before anybody is killed, but not what
	 * is in use, and a socket has an inode as well. v1 does not tell. */
	bool kernel_cache_known;
	uint64_t kernel_cache_bytes;
	uint64_t other_bytes;		/* of current, none of these */
	/* Buffers of sockets. v1 counts them beside current_bytes, not in it, only for TCP, and only
	 * for sockets made after memory.kmem.tcp.limit_in_bytes was set. */
	bool sock_known;
	bool sock_is_in_current;
	uint64_t sock_bytes;
};

/* Finds the group now, whatever was found before. 0, or -ENOENT: we are in no group (but the
 * machine's root), or cannot see it. */
int cgroup_memory_find(void);
/* Some preads on open descriptors; finds the group first when that is due. 0, -ENOENT. */
int cgroup_memory_read(struct cgroup_memory *ret);
/* The folder of the group that was found; NULL: none. Until the next call. */
const char *cgroup_memory_dir(void);
/* Closes and forgets everything. */
void cgroup_memory_forget(void);

/* RAM of the machine, 0: not known. Read once. */
uint64_t cgroup_machine_bytes(void);

/* The parts of memory.stat, pure. Lines that are missing are 0, unknown ones are passed over.
 * split_known and what belongs to it is written, and for v1 swap_bytes and, where it is lower,
 * *limit (hierarchical_memory_limit). -EBADMSG: no such text, or one that was cut. */
int cgroup_memory_parse(const char *text, size_t len, bool is_v2, struct cgroup_memory *m,
    uint64_t *limit);
/* What follows from current, split and sockets: used and other. Pure. */
void cgroup_memory_derive(struct cgroup_memory *m);

#endif
