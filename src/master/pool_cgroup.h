/*
 * pool_cgroup.h - the memory of our control group, as it was looked at last.
 *
 * What its limit means for workers is the governor's; here it is read, shown, and a rise that is no
 * worker's heap is said (model/memrise.h).
 */
#ifndef PREFORKD_POOL_CGROUP_H
#define PREFORKD_POOL_CGROUP_H

#include "base/base.h"
#include "model/memrise.h"
#include "system/cgroup_memory.h"

#include <limits.h>

struct status_cgroup;

struct pool_cgroup {
	bool known;			/* we are in one */
	struct cgroup_memory memory;	/* when it was read last */
	uint64_t judged_ms;		/* when a rise was looked for last, 0: never */
	char dir[PATH_MAX];		/* whose memory it is */
	struct memrise rise;
	char rise_text[MEMRISE_TEXT_MAX];
};

/* Reads it; once a second at most a rise is looked for, and logged. */
void pool_cgroup_read(struct pool_cgroup *c, uint64_t now_ms);
/* Texts are borrowed from c. */
void pool_cgroup_status(const struct pool_cgroup *c, uint64_t now_ms, struct status_cgroup *ret);

#endif
