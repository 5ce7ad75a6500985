/*
 * reap.h - who died, how; and signals that can only reach children.
 */
#ifndef PREFORKD_REAP_H
#define PREFORKD_REAP_H

#include "base/base.h"

struct death {
	pid_t pid;		/* 0: it never came to life */
	bool by_signal;
	int status;		/* exit status, or signal number */
	bool core;
	uint64_t peak_bytes;	/* the most that it, or a child that it has reaped, had resident;
				 * 0: not known */
};

/* The next dead child without reaping it (waitid P_ALL, WNOWAIT): 1, 0 none, or negative
 * errno. */
int reap_peek(struct death *ret);

/* Reaps the child that reap_peek told of, and adds its peak, which the kernel tells only then
 * (getrusage(2), ru_maxrss). With own_group, first sends SIGKILL to what is left of its process
 * group while the zombie still holds the number. 0 or negative errno. */
int reap_finish(struct death *d, bool own_group);

/* Whether pid is a child of this process that has not been reaped, alive or not: as long as
 * that holds, the number is nobody else's (waitid(2), ECHILD). */
bool reap_is_child(pid_t pid);

/* Signal to a child that has not been reaped; pid must be > 1. 0 or negative errno. */
int reap_signal(pid_t pid, int sig);
/* To its whole process group. */
int reap_signal_group(pid_t pid, int sig);

/* "exit status 3", "killed by SIGKILL", "killed by SIGSEGV (core dumped)". */
void death_describe(const struct death *d, char *dst, size_t len);

#endif
