/*
 * launch.c - see launch.h.
 *
 * The limit on descriptors that the master raised for itself is put back to what it
 * was for every child; launch_init() remembers it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/launch.h"

#include "base/buf.h"
#include "model/values.h"
#include "model/worker_settings.h"
#include "system/lanes.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

extern char **environ;

#define FDS_MAX 72		/* 64 listeners and a few of our own */
#define TITLE_MAX_BYTES 96
#define BEAT_MAX_MS UINT64_C(10000)

static struct rlimit original_nofile;
static bool has_original_nofile;
static int null_fd = -1;		/* every child's stdin */

void
launch_init(void)
{
	struct rlimit lim;

	null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	/* What workers leave behind comes to us and is reaped (prctl(2)); a kernel that
	 * cannot do it leaves that to init. */
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	if (getrlimit(RLIMIT_NOFILE, &original_nofile) < 0)
		return;
	has_original_nofile = true;
	lim = original_nofile;
	lim.rlim_cur = lim.rlim_max;
	/* Not being allowed to is fine: the limit stays what it was. */
	(void)setrlimit(RLIMIT_NOFILE, &lim);
}

/* Strings of an environment or argv; grows, NULL-terminated, owned. */
struct strings {
	char **v;
	size_t n;
	bool failed;
};

static void
strings_free(struct strings *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->v[i]);
	free(s->v);
}

static void
strings_take(struct strings *s, char *text)
{
	char **v;

	if (text == NULL) {
		s->failed = true;
		return;
	}
	v = reallocarray(s->v, s->n + 2, sizeof *v);
	if (v == NULL) {
		free(text);
		s->failed = true;
		return;
	}
	s->v = v;
	v[s->n++] = text;
	v[s->n] = NULL;
}

static void PRINTF_LIKE(2, 3)
strings_add(struct strings *s, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	strings_take(s, text);
}

static const char *
env_get(const struct strings *env, const char *key)
{
	size_t len = strlen(key);

	for (size_t i = 0; i < env->n; i++)
		if (strncmp(env->v[i], key, len) == 0 && env->v[i][len] == '=')
			return env->v[i] + len + 1;
	return NULL;
}

static void
env_set(struct strings *env, const char *key, const char *value)
{
	size_t len = strlen(key);
	char *text = NULL;

	if (asprintf(&text, "%s=%s", key, value) < 0)
		text = NULL;
	for (size_t i = 0; text != NULL && i < env->n; i++) {
		if (strncmp(env->v[i], key, len) == 0 && env->v[i][len] == '=') {
			free(env->v[i]);
			env->v[i] = text;
			return;
		}
	}
	strings_take(env, text);
}

/* Variables that speak about this process and would mislead a child. */
static bool
is_masters_own(const char *var)
{
	static const char *const own[] = {
		"LISTEN_", "NOTIFY_SOCKET=", "WATCHDOG_", "PREFORKD_", "MAINPID=",
	};

	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		if (strncmp(var, own[i], strlen(own[i])) == 0)
			return true;
	return false;
}

static void
env_base(struct strings *env, const struct settings *s)
{
	for (char **v = environ; v != NULL && *v != NULL; v++)
		if (!is_masters_own(*v))
			strings_take(env, strdup(*v));
	if (s->virtualenv != NULL) {
		AUTO_BUF struct buf path = BUF_INIT(65536);
		const char *old = env_get(env, "PATH");

		buf_printf(&path, "%s/bin:%s", s->virtualenv,
		    old != NULL ? old : "/usr/local/bin:/usr/bin:/bin");
		env_set(env, "VIRTUAL_ENV", s->virtualenv);
		if (path.failed)
			env->failed = true;
		else
			env_set(env, "PATH", path.data);
	}
	for (size_t i = 0; i < s->env.n; i++)
		env_set(env, s->env.v[i].key, s->env.v[i].value);
}

/* Replaces every {fd} in a word by the number of the first socket. */
static char *
substitute_fd(const char *word)
{
	AUTO_BUF struct buf b = BUF_INIT(65536);
	const char *at;

	while ((at = strstr(word, "{fd}")) != NULL) {
		buf_append(&b, word, (size_t)(at - word));
		buf_puts(&b, "3");
		word = at + 4;
	}
	buf_puts(&b, word);
	return buf_take(&b);
}

static void
build_argv(const struct launch *l, struct strings *argv)
{
	const struct settings *s = l->gen->settings;

	if (l->gen->command != NULL) {
		for (char **w = l->gen->command; *w != NULL; w++)
			strings_take(argv, substitute_fd(*w));
		return;
	}
	strings_add(argv, "%s", l->gen->python);
	strings_add(argv, "%s", l->gen->launcher);
	strings_add(argv, "%s", l->is_mold ? "mold" : "worker");
	strings_add(argv, "%s", s->wsgi != NULL ? "wsgi" : "asgi");
	strings_add(argv, "%s", s->wsgi != NULL ? s->wsgi : s->asgi);
}

/* Between heartbeats; 0: none. */
static uint64_t
beat_ms(const struct settings *s)
{
	return MIN_OF(s->timeout_ms / 3, BEAT_MAX_MS);
}

/* The sockets, in the words of sd_listen_fds(3), and who this worker is. */
static void
env_of_worker(const struct launch *l, struct strings *env)
{
	const struct generation *g = l->gen;
	AUTO_BUF struct buf names = BUF_INIT(8192);

	for (size_t i = 0; i < g->n_listeners; i++)
		buf_printf(&names, "%s%s", i > 0 ? ":" : "", g->listeners[i]->name != NULL
		    ? g->listeners[i]->name : "listen");
	strings_add(env, "LISTEN_FDS=%zu", g->n_listeners);
	strings_add(env, "LISTEN_PID=0000000000");
	strings_add(env, "LISTEN_FDNAMES=%s", names.data != NULL ? names.data : "");
	strings_add(env, "PREFORKD_SLOT=%u", l->slot);
	strings_add(env, "PREFORKD_WORKER_ID=%u", l->worker_id);
	strings_add(env, "PREFORKD_SERIAL=%llu", (unsigned long long)l->serial);
	if (l->notify_socket != NULL)
		strings_add(env, "NOTIFY_SOCKET=%s", l->notify_socket);
	if (beat_ms(g->settings) != 0)
		strings_add(env, "WATCHDOG_USEC=%" PRIu64,
		    g->settings->timeout_ms * USEC_PER_MSEC);
}

/* What the launcher reads: PREFORKD_SETTINGS. */
static void
env_of_agent(const struct launch *l, struct strings *env)
{
	const struct generation *g = l->gen;
	char title[TITLE_MAX_BYTES], worker_title[TITLE_MAX_BYTES];
	const struct worker_settings w = {
		.title = title,
		.limit_requests = l->limit_requests,
		.beat_ms = beat_ms(g->settings),
		.worker_title = l->is_mold ? worker_title : NULL,
		.master = getpid(),
	};
	AUTO_FREE char *json = NULL;

	if (l->is_mold)
		snprintf(title, sizeof title, "preforkd: %s mold g%u", g->settings->name,
		    g->number);
	else
		snprintf(title, sizeof title, "preforkd: %s worker %u", g->settings->name,
		    l->slot);
	snprintf(worker_title, sizeof worker_title, "preforkd: %s worker %%d", g->settings->name);
	json = worker_settings_json(g->settings, &w);
	if (json == NULL)
		env->failed = true;
	else
		strings_add(env, "PREFORKD_SETTINGS=%s", json);
}

static void
build_env(const struct launch *l, struct strings *env, const struct spawn_fd *fds, size_t n_fds)
{
	env_base(env, l->gen->settings);
	for (size_t i = 0; i < n_fds; i++) {
		if (fds[i].from == l->channel_fd)
			strings_add(env, "PREFORKD_CHANNEL=%d", fds[i].to);
		else if (fds[i].from == l->real_stderr_fd && fds[i].to > 2)
			strings_add(env, "PREFORKD_STDERR=%d", fds[i].to);
	}
	strings_add(env, "PREFORKD_GENERATION=%u", l->gen->number);
	if (!l->is_mold)
		env_of_worker(l, env);
	if (l->gen->has_agent)
		env_of_agent(l, env);
}

static size_t
build_fds(const struct launch *l, struct spawn_fd *fds)
{
	const struct generation *g = l->gen;
	size_t n = 0;
	int next = 3;

	fds[n++] = (struct spawn_fd){ null_fd >= 0 ? null_fd : 0, 0 };
	if (l->stdout_fd >= 0)
		fds[n++] = (struct spawn_fd){ l->stdout_fd, 1 };
	else
		fds[n++] = (struct spawn_fd){ 1, 1 };
	fds[n++] = (struct spawn_fd){ l->stderr_fd >= 0 ? l->stderr_fd : 2, 2 };
	for (size_t i = 0; i < g->n_listeners && !l->is_mold; i++)
		fds[n++] = (struct spawn_fd){
		    lanes_socket(g->listeners[i], l->lane)->fd, next++ };
	fds[n++] = (struct spawn_fd){ l->channel_fd, next++ };
	if (l->real_stderr_fd >= 0)
		fds[n++] = (struct spawn_fd){ l->real_stderr_fd, next++ };
	return n;
}

static void
plan_identity(const struct generation *g, struct spawn_plan *plan)
{
	const struct settings *s = g->settings;

	plan->chdir = s->chdir;
	plan->has_ids = g->has_ids;
	plan->uid = g->uid;
	plan->gid = g->gid;
	plan->groups = g->groups;
	plan->n_groups = g->n_groups;
	if (s->umask != UMASK_UNSET) {
		plan->has_umask = true;
		plan->umask = (mode_t)s->umask;
	}
	plan->has_nofile = has_original_nofile;
	plan->nofile = original_nofile;
	plan->own_group = true;
	plan->death_signal = SIGKILL;
}

static void
plan_limits(const struct settings *s, struct spawn_plan *plan)
{
	if (s->limit_nofile != 0) {
		plan->has_nofile = true;
		plan->nofile = (struct rlimit){ s->limit_nofile,
		    MAX_OF(s->limit_nofile, plan->nofile.rlim_max) };
		if (geteuid() != 0)
			plan->nofile.rlim_max = original_nofile.rlim_max;
	}
	if (s->limit_as_bytes != 0) {
		plan->has_as = true;
		plan->as = (struct rlimit){ s->limit_as_bytes, s->limit_as_bytes };
	}
	plan->has_oom_score_adjust = true;
	plan->oom_score_adjust = (int)s->oom_score_adjust;
}

pid_t
launch_worker(const struct launch *l, struct err *e)
{
	CLEANUP(strings_free) struct strings argv = {0};
	CLEANUP(strings_free) struct strings env = {0};
	struct spawn_fd fds[FDS_MAX];
	struct spawn_plan plan = {0};

	plan.n_fds = build_fds(l, fds);
	plan.fds = fds;
	build_argv(l, &argv);
	build_env(l, &env, fds, plan.n_fds);
	if (argv.failed || env.failed || argv.n == 0)
		return err_sys(e, ENOMEM, "cannot prepare the worker's command");
	plan.program = argv.v[0];
	plan.path_env = env_get(&env, "PATH");
	plan.argv = argv.v;
	plan.envp = env.v;
	plan.error_fd = l->channel_fd;
	plan_identity(l->gen, &plan);
	plan_limits(l->gen->settings, &plan);
	return spawn(&plan, e);
}

pid_t
launch_hook(const struct launch_hook *h, struct err *e)
{
	CLEANUP(strings_free) struct strings env = {0};
	const struct spawn_fd fds[] = { { null_fd >= 0 ? null_fd : 0, 0 }, { 1, 1 }, { 2, 2 } };
	struct spawn_plan plan = { .fds = fds, .n_fds = ARRAY_LEN(fds), .error_fd = -1 };
	char **words = value_split_words(h->gen->settings->on_worker_exit, e);
	pid_t pid;

	if (words == NULL)
		return -EINVAL;
	env_base(&env, h->gen->settings);
	strings_add(&env, "PREFORKD_SLOT=%u", h->slot);
	strings_add(&env, "PREFORKD_WORKER_ID=%u", h->worker_id);
	strings_add(&env, "PREFORKD_PID=%d", (int)h->pid);
	strings_add(&env, "PREFORKD_REASON=%s", h->reason);
	strings_add(&env, "PREFORKD_STATUS=%s", h->status);
	if (env.failed) {
		values_free_words(words);
		return err_sys(e, ENOMEM, "cannot prepare the environment");
	}
	plan.program = words[0];
	plan.path_env = env_get(&env, "PATH");
	plan.argv = words;
	plan.envp = env.v;
	plan_identity(h->gen, &plan);
	pid = spawn(&plan, e);
	values_free_words(words);
	return pid;
}

pid_t
launch_http(const struct generation *g, int control_fd, const int *listen_fds, size_t n,
    struct err *e)
{
	CLEANUP(strings_free) struct strings argv = {0};
	CLEANUP(strings_free) struct strings env = {0};
	struct spawn_fd fds[FDS_MAX] = {
		{ null_fd >= 0 ? null_fd : 0, 0 }, { 1, 1 }, { 2, 2 }, { control_fd, 3 },
	};
	struct spawn_plan plan = { .fds = fds, .error_fd = -1 };
	const char *dir = getenv("PREFORKD_LIBEXEC_DIR");

	strings_add(&argv, "%s/preforkd-http",
	    dir != NULL && dir[0] == '/' ? dir : PREFORKD_LIBEXEC_DIR);
	strings_add(&argv, "3");
	plan.n_fds = 4;
	for (size_t i = 0; i < n && plan.n_fds < FDS_MAX; i++) {
		fds[plan.n_fds] = (struct spawn_fd){ listen_fds[i], (int)plan.n_fds };
		strings_add(&argv, "%zu", plan.n_fds);
		plan.n_fds++;
	}
	strings_add(&env, "PATH=/usr/bin:/bin");
	if (argv.failed || env.failed)
		return err_sys(e, ENOMEM, "cannot prepare preforkd-http");
	plan.program = argv.v[0];
	plan.argv = argv.v;
	plan.envp = env.v;
	plan_identity(g, &plan);
	plan.chdir = "/";
	plan.has_umask = false;
	if (geteuid() == 0 && !g->has_ids) {
		/* nobody and nogroup: it needs nothing but its descriptors */
		plan.has_ids = true;
		plan.uid = 65534;
		plan.gid = 65534;
		plan.groups = NULL;
		plan.n_groups = 0;
	}
	return spawn(&plan, e);
}
