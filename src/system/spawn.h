/*
 * spawn.h - start one child exactly as planned.
 *
 * Everything is prepared before fork(); between fork and exec the child makes
 * async-signal-safe calls only, in this order: descriptors (before a limit of the
 * plan can be in their way), oom_score_adj (only ever raised), rlimits, groups, gid,
 * uid, ambient capabilities cleared, PR_SET_PDEATHSIG, getppid check, own process
 * group, umask, working folder, default dispositions, empty mask, exec. A step
 * that fails is told to the parent as an ERROR= message on error_fd (a datagram:
 * "ERROR=cannot run 'x': No such file or directory"), then _exit(127).
 */
#ifndef PREFORKD_SPAWN_H
#define PREFORKD_SPAWN_H

#include "base/base.h"
#include "base/err.h"

#include <sys/resource.h>

struct spawn_fd {
	int from;		/* descriptor of this process */
	int to;			/* number in the child */
};

struct spawn_plan {
	const char *program;	/* searched in path_env when it has no '/' */
	const char *path_env;	/* value of the child's PATH, or NULL */
	char *const *argv;
	char *const *envp;	/* complete; "LISTEN_PID=" is completed in the child */
	const struct spawn_fd *fds;	/* everything else is closed in the child */
	size_t n_fds;
	int error_fd;		/* this process's number of the child's channel end, or -1 */
	const char *chdir;	/* NULL: as is */
	bool has_ids;
	uid_t uid;
	gid_t gid;
	const gid_t *groups;	/* supplementary */
	size_t n_groups;
	bool has_umask;
	mode_t umask;
	bool has_nofile;
	struct rlimit nofile;
	bool has_as;
	struct rlimit as;
	bool has_oom_score_adjust;
	int oom_score_adjust;	/* added to this process's own; <= 0: nothing */
	bool own_group;		/* setpgid(0, 0) */
	int death_signal;	/* 0: none */
};

/* The child's pid, or negative errno (-EAGAIN: no process to be had) with e. The
 * descriptors of the plan stay the caller's. All signals are blocked across fork. */
pid_t spawn(const struct spawn_plan *plan, struct err *e);

/* uid, gid and supplementary groups of a user and/or group name or number. user NULL:
 * uid and groups of this process, group NULL: the user's. *ret_groups owned. Uses the
 * system's user database: call it when settings are loaded, never in the loop. */
int spawn_lookup_ids(const char *user, const char *group, uid_t *ret_uid, gid_t *ret_gid,
    gid_t **ret_groups, size_t *ret_n, struct err *e);

#endif
