/*
 * spawn.c - prepares a child, forks it, and leaves the rest to spawn_child.c.
 *
 * Whatever needs memory, a lock or a look at this process happens here. Signals
 * are blocked across fork, so that no handler of ours ever runs in the child.
 * The plan's mistakes (a descriptor that is not open, two for one number) are
 * found before anything is started.
 */
#include "system/spawn_child.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"
#define FDS_GUESSED  65536	/* closed one by one where neither close_range nor /proc is there */

static void
free_strings(char ***list)
{
	if (*list) {
		for (char **s = *list; *s; s++)
			free(*s);
		free(*list);
	}
}

/* Every path that the program may have, in the order to try. */
static char **
list_candidates(const char *program, const char *path_env)
{
	CLEANUP(free_strings) char **list = NULL;
	const char *dirs = path_env ? path_env : DEFAULT_PATH;
	size_t n = 1;

	for (const char *p = dirs; *p; p++)
		n += *p == ':';
	list = calloc(n + 1, sizeof(*list));
	if (!list)
		return NULL;
	if (strchr(program, '/')) {
		list[0] = strdup(program);
		return list[0] ? TAKE_PTR(list) : NULL;
	}
	for (size_t i = 0; i < n; i++) {
		size_t len = strcspn(dirs, ":");
		/* an empty element is the working folder */
		int r = asprintf(&list[i], "%.*s/%s", len ? (int)len : 1, len ? dirs : ".",
		    program);

		if (r < 0) {
			list[i] = NULL;
			return NULL;
		}
		dirs += len + (dirs[len] == ':');
	}
	return TAKE_PTR(list);
}

/* A copy of the list whose LISTEN_PID is the given buffer. The strings stay the plan's. */
static char **
copy_environment(char *const *envp, char *listen_pid, bool *ret_has_listen_pid)
{
	static const char key[] = "LISTEN_PID=";
	bool has = false;
	char **copy;
	size_t n = 0;

	while (envp[n])
		n++;
	copy = calloc(n + 1, sizeof(*copy));
	if (!copy)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		if (strncmp(envp[i], key, sizeof(key) - 1) == 0) {
			memcpy(listen_pid, key, sizeof(key));
			copy[i] = listen_pid;
			has = true;
		} else {
			copy[i] = envp[i];
		}
	}
	*ret_has_listen_pid = has;
	return copy;
}

static int
compare_fds(const void *a, const void *b)
{
	const struct spawn_fd *x = a, *y = b;

	return (x->to > y->to) - (x->to < y->to);
}

static int
plan_descriptors(struct spawn_job *job, struct err *e)
{
	const struct spawn_plan *p = job->plan;

	job->n_fds = p->n_fds;
	job->floor = 3;
	job->error_fd = p->error_fd;
	job->fds = calloc(p->n_fds ? p->n_fds : 1, sizeof(*job->fds));
	if (!job->fds)
		return err_sys(e, ENOMEM, "cannot prepare a process");
	for (size_t i = 0; i < p->n_fds; i++) {
		job->fds[i] = p->fds[i];
		if (p->fds[i].to < 0)
			return err_set(e, EINVAL, "a child has no descriptor %d", p->fds[i].to);
		if (fcntl(p->fds[i].from, F_GETFD) < 0)
			return err_sys(e, errno, "descriptor %d for a child", p->fds[i].from);
		job->floor = MAX_OF(job->floor, p->fds[i].to + 1);
	}
	if (p->error_fd >= 0 && fcntl(p->error_fd, F_GETFD) < 0)
		return err_sys(e, errno, "descriptor %d for a child", p->error_fd);
	qsort(job->fds, job->n_fds, sizeof(*job->fds), compare_fds);
	for (size_t i = 1; i < job->n_fds; i++)
		if (job->fds[i - 1].to == job->fds[i].to)
			return err_set(e, EINVAL, "two descriptors for number %d of a child",
			    job->fds[i].to);
	return 0;
}

/* -1 when close_range works here (Linux 5.9, and no filter in the way), else the highest
 * descriptor that must be closed one by one. */
static int
find_highest_fd(void)
{
	int highest = -1;
	struct dirent *de;
	DIR *dir;

	if (close_range(~0U, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
		return -1;
	dir = opendir("/proc/self/fd");
	if (!dir)
		return FDS_GUESSED;
	while ((de = readdir(dir)) != NULL) {
		int fd = 0;

		for (const char *p = de->d_name; *p >= '0' && *p <= '9'; p++)
			fd = fd * 10 + (*p - '0');
		highest = MAX_OF(highest, fd);
	}
	closedir(dir);
	return highest;
}

static bool
has_group(const gid_t *list, size_t n, gid_t gid)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == gid)
			return true;
	return false;
}

/* Whether this process already is who the child shall be: an unprivileged one may not
 * call setgroups, even to change nothing. */
static bool
is_already(const struct spawn_plan *p)
{
	AUTO_FREE gid_t *have = NULL;
	uid_t ruid, euid, suid;
	gid_t rgid, egid, sgid;
	int n;

	if (getresuid(&ruid, &euid, &suid) < 0 || getresgid(&rgid, &egid, &sgid) < 0 ||
	    ruid != p->uid || euid != p->uid || suid != p->uid ||
	    rgid != p->gid || egid != p->gid || sgid != p->gid)
		return false;
	n = getgroups(0, NULL);
	if (n < 0)
		return false;
	have = calloc((size_t)n + 1, sizeof(*have));
	if (!have || getgroups(n, have) != n)
		return false;
	/* the own group may be listed or not */
	for (size_t i = 0; i < (size_t)n; i++)
		if (have[i] != p->gid && !has_group(p->groups, p->n_groups, have[i]))
			return false;
	for (size_t i = 0; i < p->n_groups; i++)
		if (p->groups[i] != p->gid && !has_group(have, (size_t)n, p->groups[i]))
			return false;
	return true;
}

/* The plan's adjustment counts from our own score; lowering is left to nobody. */
static void
plan_oom_score(struct spawn_job *job)
{
	const struct spawn_plan *p = job->plan;
	int current = 0;
	FILE *f;

	if (!p->has_oom_score_adjust || p->oom_score_adjust <= 0)
		return;
	f = fopen("/proc/self/oom_score_adj", "re");
	if (!f)
		return;
	if (fscanf(f, "%d", &current) == 1 && current >= -1000 && current <= 1000)
		snprintf(job->oom_score, sizeof(job->oom_score), "%d",
		    MIN_OF(current + MIN_OF(p->oom_score_adjust, 2000), 1000));
	fclose(f);
}

static pid_t
fork_child(struct spawn_job *job, struct err *e)
{
	sigset_t all, before;
	pid_t pid;

	job->parent = getpid();
	sigfillset(&all);
	if (sigprocmask(SIG_SETMASK, &all, &before) < 0)
		return err_sys(e, errno, "cannot block signals");
	pid = fork();
	if (pid == 0)
		spawn_child_run(job);
	if (pid < 0)
		pid = -errno;
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (pid == -EAGAIN)
		err_set(e, EAGAIN, "cannot start a process: a limit of processes is reached "
		    "(TasksMax=, pids.max of the control group, ulimit -u)");
	else if (pid < 0)
		err_sys(e, -pid, "cannot start a process");
	/* whoever comes first: the group must exist before anybody signals it */
	else if (job->plan->own_group)
		setpgid(pid, pid);
	return pid;
}

pid_t
spawn(const struct spawn_plan *plan, struct err *e)
{
	CLEANUP(free_strings) char **candidates = NULL;
	AUTO_FREE char **envp = NULL;
	AUTO_FREE struct spawn_fd *fds = NULL;
	char listen_pid[SPAWN_PID_ENV_MAX];
	struct spawn_job job = { .plan = plan };
	bool has_listen_pid = false;
	int r;

	r = plan_descriptors(&job, e);
	fds = job.fds;
	if (r < 0)
		return r;
	candidates = list_candidates(plan->program, plan->path_env);
	envp = copy_environment(plan->envp, listen_pid, &has_listen_pid);
	if (!candidates || !envp)
		return err_sys(e, ENOMEM, "cannot prepare a process");
	job.candidates = candidates;
	job.envp = envp;
	job.listen_pid = has_listen_pid ? listen_pid : NULL;
	job.highest_fd = find_highest_fd();
	job.sets_ids = plan->has_ids && !is_already(plan);
	plan_oom_score(&job);
	return fork_child(&job, e);
}
