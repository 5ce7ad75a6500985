/*
 * cgroup.h - where our control group is, and what it says.
 *
 * cgroup_oom_kills and cgroup_cpus are declared in procmem.h. The membership is read from
 * procmem_root/self/cgroup; both roots can be pointed at made-up trees by tests. Never logs.
 */
#ifndef PREFORKD_CGROUP_H
#define PREFORKD_CGROUP_H

#include "base/base.h"

#include <limits.h>

extern const char *cgroup_root;		/* "/sys/fs/cgroup" */

/* Our group of one controller. Parents of dir, down to the first mount_len bytes (the mount
 * itself), are its ancestors. */
struct cgroup_place {
	bool is_v2;
	size_t mount_len;
	char dir[PATH_MAX];
};

/* The n-th place (from 0) where the controller may live on this machine: v2, v2 beside v1,
 * v1. Where the path of /proc/self/cgroup does not exist below the mount (a container that
 * sees its own group as the mount's root), it is the mount's root. 0, or -ENOENT when there
 * are no more. */
int cgroup_find(const char *controller, unsigned n, struct cgroup_place *ret);

/* Shortens the place to its parent; false at the mount's root. */
bool cgroup_ascend(struct cgroup_place *place);

/* Reads a file of the place, at most len - 1 bytes, NUL-terminated: its length, or negative
 * errno. */
ssize_t cgroup_read(const struct cgroup_place *place, const char *file, char *dst, size_t len);

/* Forgets what cgroup_oom_kills found. */
void cgroup_forget(void);

#endif
