/*
 * procmem.h - memory and descriptors of worker processes, from /proc.
 *
 * procmem_root can be pointed at a made-up /proc by tests. Never logs.
 */
#ifndef PREFORKD_PROCMEM_H
#define PREFORKD_PROCMEM_H

#include "base/base.h"

extern const char *procmem_root;	/* "/proc" */

struct procmem {
	int statm_fd;		/* kept open; -1 */
	int rollup_fd;		/* kept open once it was needed; -1 */
	pid_t pid;
};

struct procmem_sample {
	uint64_t rss_bytes;
	uint64_t as_bytes;
};

/* What smaps_rollup tells: how much of the memory is shared, and how much would come back. */
struct procmem_rollup {
	uint64_t rss_bytes;
	uint64_t pss_bytes;	/* a page that n processes map counts 1/n */
	uint64_t uss_bytes;	/* of this process alone, with huge pages of its own */
	uint64_t swap_bytes;
};

#define PROCMEM_NONE ((struct procmem){ .statm_fd = -1, .rollup_fd = -1 })

/* Opens /proc/PID/statm of a living child that has exec'd. 0 or negative errno. */
int procmem_open(struct procmem *m, pid_t pid);
/* -ESRCH when the process is gone. */
int procmem_read(struct procmem *m, struct procmem_sample *ret);
/* Walks all page tables of the process (7 ms per GB) and takes the lock of its memory map, for
 * reading. Only for a process that procmem_open() succeeded with. -EACCES: another user's, or
 * one that may not be dumped, and this process lacks CAP_SYS_PTRACE. -ENOTSUP: the kernel has no
 * smaps_rollup. -ESRCH when the process is gone. */
int procmem_read_rollup(struct procmem *m, struct procmem_rollup *ret);
/* The most that the process has ever had resident (VmHWM), since its exec. That of a forked one
 * begins with what it got from its mold, which is the mold's size at that time and not the mold's
 * own highest. As procmem_read(); -ENOTSUP where the kernel does not tell. */
int procmem_read_peak(struct procmem *m, uint64_t *ret);
/* How far procmem_read() may be off on this machine, in bytes (footprint_statm_error()). */
uint64_t procmem_statm_error(void);
/* A descriptor that the process itself has opened and sent, and that may as well be anything else:
 * kept for procmem_read_rollup() when it is that process's smaps_rollup and this process may not
 * open it by itself. Takes fd in any case. The process must have exec'd and not be reaped. 0,
 * -EINVAL when it is something else, or another negative errno. */
int procmem_adopt_rollup(struct procmem *m, pid_t pid, int fd);
void procmem_close(struct procmem *m);

/* Number of open descriptors of a process (entries of /proc/PID/fd). -EACCES when this
 * process may not look. */
int procmem_count_fds(pid_t pid, uint64_t *ret);

/* Sums over descendants: one walk over /proc for all of n leaders (process group ids).
 * sum[i] gets RSS and address space of the members of group leaders[i] without the leader
 * itself; n_members[i] their number. 0 or negative errno. */
int procmem_groups(const pid_t *leaders, size_t n, struct procmem_sample *sum,
    unsigned *n_members);

/* Adds the smaps_rollup of all members of the leader's group but the leader itself; walks over
 * /proc. Those that may not be read are left out. 0 or negative errno. */
int procmem_group_rollup(pid_t leader, struct procmem_rollup *sum);

/* Whether a process of the group of `leader` waits on a socket with this inode number with
 * epoll (/proc/PID/fdinfo): 1, 0, or negative errno (-EACCES). */
int procmem_polls_inode(pid_t leader, ino_t inode);

/* The kernel's count of processes killed for memory in our cgroup (v2 memory.events oom_kill,
 * v1 memory.oom_control oom_kill), found once; -ENOENT without one. */
int cgroup_oom_kills(uint64_t *ret);

/* CPUs this process may use: affinity, and the cgroup's quota rounded up (v2 cpu.max, v1
 * cpu.cfs_quota_us), at least 1. */
unsigned cgroup_cpus(void);

#endif
