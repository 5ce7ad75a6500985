/*
 * spawn_child.h - what spawn() prepares, and the child that carries it out.
 *
 * spawn.c fills the job before fork; spawn_child.c runs in the child and makes
 * async-signal-safe calls only: it allocates nothing and reads no locale.
 */
#ifndef PREFORKD_SPAWN_CHILD_H
#define PREFORKD_SPAWN_CHILD_H

#include "system/spawn.h"

#define SPAWN_OOM_TEXT_MAX 16
#define SPAWN_PID_ENV_MAX  32

struct spawn_job {
	const struct spawn_plan *plan;
	pid_t parent;
	char **candidates;	/* paths to try, NULL-terminated */
	char **envp;
	char *listen_pid;	/* "LISTEN_PID=" in envp, to be completed; or NULL */
	struct spawn_fd *fds;	/* sorted by `to`; the child moves `from` out of the way */
	size_t n_fds;
	int floor;		/* above every `to`, and at least 3 */
	int highest_fd;		/* -1: close_range works; else the highest open descriptor */
	int error_fd;
	bool sets_ids;
	char oom_score[SPAWN_OOM_TEXT_MAX];	/* "": leave it */
};

/* Runs in the child, with all signals blocked. */
void spawn_child_run(struct spawn_job *job) NO_RETURN;

#endif
