/*
 * spawn_child.c - between fork and exec.
 *
 * The descriptors come first, while the parent's limits still hold: a low
 * RLIMIT_NOFILE of the plan must not be in the way of moving them. Every source
 * is first copied above all targets, so that no target can overwrite a source
 * that is still needed. A step that fails is told in one datagram, then the
 * child is gone; nothing of the parent (atexit, stdio) runs.
 */
#include "system/spawn_child.h"
#include "model/message.h"

#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/close_range.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

struct report {
	size_t len;
	char data[MESSAGE_MAX];
};

static void
report_put(struct report *r, const char *s)
{
	for (; *s && r->len + 2 <= sizeof(r->data); s++) {
		char c = *s;

		if (c == '\\' || c == '\n')
			r->data[r->len++] = '\\';
		if (c == '\n')
			c = 'n';
		r->data[r->len++] = c;
	}
}

/* "ERROR=<what>'<name>'<why>: <errno's text>"; name and why may be NULL. */
static void NO_RETURN
fail(const struct spawn_job *job, int code, const char *what, const char *name,
    const char *why)
{
	static struct report r;
	const char *text = strerrordesc_np(code);

	if (job->error_fd < 0)
		_exit(127);
	r.len = 0;
	report_put(&r, "ERROR=");
	report_put(&r, what);
	if (name) {
		report_put(&r, " '");
		report_put(&r, name);
		report_put(&r, "'");
	}
	report_put(&r, ": ");
	report_put(&r, text ? text : "unknown error");
	if (why) {
		report_put(&r, " (");
		report_put(&r, why);
		report_put(&r, ")");
	}
	send(job->error_fd, r.data, r.len, MSG_DONTWAIT | MSG_NOSIGNAL);
	_exit(127);
}

/* Where close_range is not to be had, one call per descriptor; from and to inclusive. */
static void
close_each(const struct spawn_job *job, int from, int to, bool at_exec)
{
	to = MIN_OF(to, job->highest_fd);
	for (int fd = from; fd <= to; fd++) {
		if (at_exec)
			fcntl(fd, F_SETFD, FD_CLOEXEC);
		else
			close(fd);
	}
}

static void
close_between(const struct spawn_job *job, int from, int to, bool at_exec)
{
	unsigned flags = at_exec ? CLOSE_RANGE_CLOEXEC : 0;

	if (from > to)
		return;
	if (job->highest_fd >= 0 ||
	    close_range((unsigned)from, (unsigned)to, (int)flags) < 0)
		close_each(job, from, to, at_exec);
}

static void
set_descriptors(struct spawn_job *job)
{
	int next = 0;

	if (job->error_fd >= 0) {
		int fd = fcntl(job->error_fd, F_DUPFD_CLOEXEC, job->floor);

		if (fd < 0)
			fail(job, errno, "cannot copy the channel", NULL, NULL);
		job->error_fd = fd;
	}
	for (size_t i = 0; i < job->n_fds; i++) {
		job->fds[i].from = fcntl(job->fds[i].from, F_DUPFD_CLOEXEC, job->floor);
		if (job->fds[i].from < 0)
			fail(job, errno, "cannot copy a descriptor", NULL, NULL);
	}
	for (size_t i = 0; i < job->n_fds; i++) {
		if (dup2(job->fds[i].from, job->fds[i].to) < 0)
			fail(job, errno, "cannot place a descriptor", NULL, NULL);
		close_between(job, next, job->fds[i].to - 1, false);
		next = job->fds[i].to + 1;
	}
	close_between(job, next, job->floor - 1, false);
	/* the copies and the way to report are still needed until exec */
	close_between(job, job->floor, INT_MAX, true);
}

/* A failure is not worth losing the worker for. */
static void
set_oom_score(const struct spawn_job *job)
{
	int fd;

	if (!job->oom_score[0])
		return;
	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (write(fd, job->oom_score, strlen(job->oom_score)) < 0)
		errno = 0;
	close(fd);
}

static void
set_limits(const struct spawn_job *job)
{
	const struct spawn_plan *p = job->plan;

	if (p->has_nofile && setrlimit(RLIMIT_NOFILE, &p->nofile) < 0)
		fail(job, errno, "cannot set limit-nofile", NULL, NULL);
	if (p->has_as && setrlimit(RLIMIT_AS, &p->as) < 0)
		fail(job, errno, "cannot set limit-as", NULL, NULL);
}

static void
set_credentials(const struct spawn_job *job)
{
	const struct spawn_plan *p = job->plan;

	if (job->sets_ids) {
		if (setgroups(p->n_groups, p->groups) < 0)
			fail(job, errno, "cannot set the supplementary groups", NULL, NULL);
		if (setresgid(p->gid, p->gid, p->gid) < 0)
			fail(job, errno, "cannot change the group", NULL, NULL);
		if (setresuid(p->uid, p->uid, p->uid) < 0)
			fail(job, errno, "cannot change the user", NULL, NULL);
	}
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
		fail(job, errno, "cannot drop the ambient capabilities", NULL, NULL);
	/* changing credentials clears it, hence not earlier */
	if (p->death_signal > 0 &&
	    prctl(PR_SET_PDEATHSIG, (unsigned long)p->death_signal, 0, 0, 0) < 0)
		fail(job, errno, "cannot set the death signal", NULL, NULL);
	/* a parent that died before that sends nothing */
	if (p->death_signal > 0 && getppid() != job->parent)
		_exit(127);
}

static void
reset_signals(const struct spawn_job *job)
{
	static const struct { uint64_t words[4]; } kernel_dfl;
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		sigaction(sig, &dfl, NULL);	/* refused for KILL, STOP and glibc's own */
	/* glibc's own, which a parent's posix_spawn(3) may have left ignored: only the kernel's
	 * call (rt_sigaction(2), its struct all zero is SIG_DFL) reaches them. */
	for (int sig = __SIGRTMIN; sig < SIGRTMIN; sig++)
		syscall(SYS_rt_sigaction, sig, &kernel_dfl, NULL, sizeof(uint64_t));
	sigemptyset(&none);
	if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
		fail(job, errno, "cannot reset the signal mask", NULL, NULL);
}

static void
write_pid(char *dst, pid_t pid)
{
	char digits[16];
	size_t n = 0;

	for (unsigned v = (unsigned)pid; v > 0 || n == 0; v /= 10)
		digits[n++] = (char)('0' + v % 10);
	while (n > 0)
		*dst++ = digits[--n];
	*dst = '\0';
}

static const char *
explain_exec(int code, const char *path)
{
	struct stat st;

	if (code == ENOENT && stat(path, &st) == 0)
		return "its interpreter, named in the first line or for this architecture, "
		    "does not exist";
	if (code == ENOEXEC)
		return "no binary for this machine, and a script needs #! in its first line";
	if (code == EACCES)
		return "not executable, or a folder above it cannot be entered";
	return NULL;
}

/* Errors of one folder of PATH that do not end the search. */
static bool
is_absence(int code)
{
	return code == ENOTDIR || code == ENAMETOOLONG || code == ELOOP || code == ENODEV ||
	    code == ESTALE || code == ETIMEDOUT;
}

/* As a shell looks for a program, but without its fallback of running /bin/sh on
 * anything: what was found and cannot be run outweighs what was not found. */
static void NO_RETURN
execute(const struct spawn_job *job)
{
	const char *culprit = job->plan->program;
	int code = ENOENT;

	for (char **path = job->candidates; *path; path++) {
		const char *why;
		int r;

		execve(*path, job->plan->argv, job->envp);
		r = errno;
		why = explain_exec(r, *path);
		if (r == EACCES) {
			if (code != EACCES)
				culprit = *path;
			code = EACCES;
		} else if (why || (r != ENOENT && !is_absence(r))) {
			fail(job, r, "cannot run", *path, why);
		} else if (!job->candidates[1]) {
			code = r;
		}
	}
	if (code == ENOENT && !strchr(job->plan->program, '/'))
		fail(job, code, "cannot run", culprit, "not found in PATH");
	fail(job, code, "cannot run", culprit, explain_exec(code, culprit));
}

void
spawn_child_run(struct spawn_job *job)
{
	const struct spawn_plan *p = job->plan;

	set_descriptors(job);
	set_oom_score(job);
	set_limits(job);
	set_credentials(job);
	if (p->own_group && setpgid(0, 0) < 0)
		fail(job, errno, "cannot make a process group", NULL, NULL);
	if (p->has_umask)
		umask(p->umask);
	if (p->chdir && chdir(p->chdir) < 0)
		fail(job, errno, "cannot change to the folder", p->chdir, NULL);
	if (job->listen_pid)
		write_pid(job->listen_pid + sizeof("LISTEN_PID=") - 1, getpid());
	reset_signals(job);
	execute(job);
}
