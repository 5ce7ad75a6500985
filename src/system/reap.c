/*
 * reap.c - dead children are looked at first and reaped afterwards.
 *
 * A number is another process's as soon as its owner has been reaped. Hence the
 * look leaves the zombie where it is, and what is left of its process group is
 * killed while the zombie still holds the number. Numbers below 2 are refused
 * everywhere: kill(2) takes 0, 1 and -1 for whole sets of strangers.
 */
#include "system/reap.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

static int
wait_for(idtype_t type, pid_t pid, int options, siginfo_t *ret)
{
	int r;

	do {
		memset(ret, 0, sizeof(*ret));
		r = waitid(type, (id_t)pid, ret, options | WEXITED | WNOHANG);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

int
reap_peek(struct death *ret)
{
	siginfo_t si;
	int r = wait_for(P_ALL, 0, WNOWAIT, &si);

	if (r == -ECHILD)
		return 0;
	if (r < 0)
		return r;
	if (si.si_pid == 0)
		return 0;
	*ret = (struct death){
		.pid = si.si_pid,
		.by_signal = si.si_code != CLD_EXITED,
		.status = si.si_status,
		.core = si.si_code == CLD_DUMPED,
	};
	return 1;
}

int
reap_finish(struct death *d, bool own_group)
{
	struct rusage used = {0};
	siginfo_t si;
	int r;

	if (d->pid <= 1)
		return -EINVAL;
	r = wait_for(P_PID, d->pid, WNOWAIT, &si);
	if (r < 0)
		return r;
	if (si.si_pid != d->pid)
		return -EAGAIN;		/* not dead yet */
	if (own_group && d->pid != getpgrp())
		kill(-d->pid, SIGKILL);	/* without members left: nothing */
	do {
		r = wait4(d->pid, NULL, WNOHANG, &used);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	d->peak_bytes = (uint64_t)MAX_OF(used.ru_maxrss, 0L) * 1024;
	return 0;
}

bool
reap_is_child(pid_t pid)
{
	siginfo_t si;

	return pid > 1 && wait_for(P_PID, pid, WNOWAIT, &si) == 0;
}

int
reap_signal(pid_t pid, int sig)
{
	if (pid <= 1)
		return -EINVAL;
	return kill(pid, sig) < 0 ? -errno : 0;
}

int
reap_signal_group(pid_t pid, int sig)
{
	if (pid <= 1 || pid == getpgrp())
		return -EINVAL;
	return kill(-pid, sig) < 0 ? -errno : 0;
}

void
death_describe(const struct death *d, char *dst, size_t len)
{
	const char *abbrev;

	if (d->pid == 0) {
		snprintf(dst, len, "no process has shown itself");
		return;
	}
	if (!d->by_signal) {
		snprintf(dst, len, "exit status %d", d->status);
		return;
	}
	abbrev = sigabbrev_np(d->status);
	if (abbrev)
		snprintf(dst, len, "killed by SIG%s%s", abbrev, d->core ? " (core dumped)" : "");
	else
		snprintf(dst, len, "killed by signal %d%s", d->status,
		    d->core ? " (core dumped)" : "");
}
