/*
 * generation.c - build a generation completely, or not at all.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/generation.h"

#include "base/log.h"
#include "model/steering.h"
#include "model/values.h"
#include "system/lanes.h"

#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>

#define LISTENERS_MAX 64
#define DRAINING_MIN  UINT64_C(8)

static void
policy_from_settings(const struct settings *s, struct gov_policy *p)
{
	*p = (struct gov_policy){
		.concurrency = s->recycle_concurrency,
		.spacing_ms = s->recycle_spacing_ms,
		.min_lifetime_ms = s->min_worker_lifetime_ms,
		/* A drain takes a second or so even without requests: quick recycling must not
		 * cut it short. */
		.max_draining = s->max_draining != 0 ? s->max_draining
		    : MAX_OF(2 * s->workers, DRAINING_MIN),
		.samples = s->memory_samples,
		.sample_ms = s->memory_interval_ms,
		.limit = {
			[GM_RSS] = s->reload_on_rss,
			[GM_USS] = s->reload_on_uss,
			[GM_PSS] = s->reload_on_pss,
			[GM_AS] = s->reload_on_as,
			[GM_FDS] = limit_size(s->reload_on_fds),
		},
		.evil = {
			[GM_RSS] = s->evil_reload_on_rss,
			[GM_USS] = s->evil_reload_on_uss,
		},
		.trim = s->trim_on_rss,
		.dry_run = s->recycle_dry_run,
	};
}

/* An asyncio server accepts whatever waits whenever it is awake, and keeps its connections: at
 * one socket the first to wake up would take more than its share. */
static bool
is_per_slot(const struct settings *s)
{
	if (s->balance == BALANCE_AUTO)
		return s->asgi != NULL && s->workers <= STEERING_LANES_MAX;
	return s->balance == BALANCE_PER_SLOT;
}

static struct listener *
find_listener(const struct generation *g, const struct address *a)
{
	if (g == NULL)
		return NULL;
	for (size_t i = 0; i < g->n_listeners; i++)
		if (address_equal(&g->listeners[i]->address, a))
			return g->listeners[i];
	return NULL;
}

/* An address that comes back before the last worker has left it. */
static struct listener *
find_leaving(const struct generation_plan *plan, const struct address *a)
{
	for (size_t i = 0; i < plan->n_leaving; i++)
		if (address_equal(&plan->leaving[i]->address, a) &&
		    lanes_unblock(plan->leaving[i]))
			return plan->leaving[i];
	return NULL;
}

/* A listener that was opened as HOST:0 is known by the port that the kernel chose. */
static struct listener *
find_listener_port0(const struct generation *old, size_t index, const char *text)
{
	if (old == NULL || index >= old->settings->listen.n || index >= old->n_listeners)
		return NULL;
	if (strcmp(old->settings->listen.v[index], text) != 0)
		return NULL;
	return old->listeners[index];
}

static bool
is_port0(const char *text)
{
	size_t n = strlen(text);

	return n > 2 && strcmp(text + n - 2, ":0") == 0;
}

static int
add_listener(struct generation *g, struct listener *l, struct err *e)
{
	if (generation_has_listener(g, l)) {
		int r = err_set(e, EINVAL, "listen: %s is named twice", l->address.text);

		listener_unref(l);
		return r;
	}
	if (g->n_listeners == LISTENERS_MAX) {
		listener_unref(l);
		return err_set(e, E2BIG, "listen: more than %d sockets", LISTENERS_MAX);
	}
	g->listeners[g->n_listeners++] = l;
	return 0;
}

static int
lookup_socket_owner(const struct settings *s, struct listen_options *o, struct err *e)
{
	AUTO_FREE gid_t *groups = NULL;
	size_t n;
	uid_t uid;
	gid_t gid;
	int r;

	if (s->socket_user == NULL && s->socket_group == NULL)
		return 0;
	r = spawn_lookup_ids(s->socket_user, s->socket_group, &uid, &gid, &groups, &n, e);
	if (r < 0)
		return r;
	if (s->socket_user != NULL)
		o->uid = uid;
	o->gid = gid;
	return 0;
}

/* Lets a new socket share the port of each old one whose address overlaps, or ends that. A
 * listener with lanes shares for good. Returns how many there are. */
static size_t
share_overlapping(const struct generation_plan *plan, const struct address *a, bool on)
{
	size_t n_old = plan->old != NULL ? plan->old->n_listeners : 0, n = 0;

	for (size_t i = 0; i < n_old + plan->n_leaving; i++) {
		struct listener *l = i < n_old ? plan->old->listeners[i]
		    : plan->leaving[i - n_old];

		if (!address_overlaps(a, &l->address))
			continue;
		listener_share_port(l, on || lanes_count(l) > 1);
		n++;
	}
	return n;
}

/* From 127.0.0.1:80 to :80, or back: the kernel sees our own old socket in the way. Only
 * then do both share the port, and only for this moment: a foreign process that asks for it
 * as well would get a part of the connections. */
static int
open_beside_old(const struct address *a, const struct listen_options *options,
    const struct generation_plan *plan, struct listener **ret, struct err *e)
{
	struct listen_options shared = *options;
	int r = listener_open(a, options, ret, e);

	if (r != -EADDRINUSE || share_overlapping(plan, a, true) == 0)
		return r;
	shared.share_port = true;
	/* The narrower address would take connections that the old workers are to serve. */
	shared.is_quiet = true;
	r = listener_open(a, &shared, ret, e);
	(void)share_overlapping(plan, a, false);
	if (r >= 0)
		listener_share_port(*ret, false);
	return r;
}

static int
open_listener(struct generation *g, size_t index, const struct generation_plan *plan,
    const struct listen_options *options, struct err *e)
{
	const char *text = g->settings->listen.v[index];
	struct listener *l = NULL;
	struct address a;
	int r, fd;

	r = address_parse(text, NULL, &a, e);
	if (r < 0)
		return r;
	switch (a.kind) {
	case ADDRESS_SYSTEMD:
		if (plan->inherited == NULL || plan->inherited->n == 0)
			return err_set(e, ENOENT, "listen = systemd: systemd passed no sockets "
			    "(LISTEN_FDS is not set); is the .socket unit started?");
		for (size_t i = 0; i < plan->inherited->n; i++) {
			r = add_listener(g, listener_ref(plan->inherited->v[i]), e);
			if (r < 0)
				return r;
		}
		return 0;
	case ADDRESS_FD:
		for (size_t i = 0; plan->old != NULL && i < plan->old->n_listeners; i++)
			if (!plan->old->listeners[i]->is_ours &&
			    plan->old->settings->listen.n == plan->old->n_listeners &&
			    strcmp(plan->old->settings->listen.v[i], text) == 0)
				return add_listener(g, listener_ref(plan->old->listeners[i]), e);
		fd = fcntl(a.fd, F_DUPFD_CLOEXEC, 3);
		if (fd < 0)
			return err_sys(e, errno, "listen = %s", text);
		r = listener_adopt(fd, NULL, &l, e);
		return r < 0 ? r : add_listener(g, l, e);
	case ADDRESS_TCP:
	case ADDRESS_UNIX:
		break;
	}
	l = is_port0(text) ? find_listener_port0(plan->old, index, text)
	    : find_listener(plan->old, &a);
	if (l == NULL)
		l = find_leaving(plan, &a);
	if (l != NULL)
		return add_listener(g, listener_ref(l), e);
	r = open_beside_old(&a, options, plan, &l, e);
	return r < 0 ? r : add_listener(g, l, e);
}

static int
open_listeners(struct generation *g, const struct generation_plan *plan, struct err *e)
{
	struct listen_options options = {
		.backlog = (int)g->settings->backlog,
		.mode = (mode_t)g->settings->socket_mode,
		.uid = (uid_t)-1,
		.gid = (gid_t)-1,
	};
	int r;

	g->listeners = calloc(LISTENERS_MAX, sizeof g->listeners[0]);
	if (g->listeners == NULL)
		return err_sys(e, ENOMEM, "listen");
	if (plan->private_socket) {
		struct listener *l;
		struct address a;

		/* A nameless TCP port on loopback that nobody is told of. */
		r = address_parse("127.0.0.1:0", NULL, &a, e);
		if (r >= 0)
			r = listener_open(&a, &options, &l, e);
		return r < 0 ? r : add_listener(g, l, e);
	}
	r = lookup_socket_owner(g->settings, &options, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < g->settings->listen.n; i++) {
		r = open_listener(g, i, plan, &options, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Where the parts that are not programs of the PATH live; a build tree that is not
 * installed says so in the environment (see HACKING). */
static char *
launcher_path(void)
{
	const char *dir = getenv("PREFORKD_PYTHON_DIR");
	char *path = NULL;

	if (asprintf(&path, "%s/preforkd/__main__.py",
	    dir != NULL && dir[0] == '/' ? dir : PREFORKD_PYTHON_DIR) < 0)
		return NULL;
	return path;
}

static int
prepare_program(struct generation *g, struct err *e)
{
	const struct settings *s = g->settings;

	if (s->command != NULL) {
		g->command = value_split_words(s->command, e);
		return g->command != NULL ? 0 : -EINVAL;
	}
	g->has_agent = true;
	g->starts = s->preload == PRELOAD_NO ? STARTS_BY_EXEC : STARTS_UNDECIDED;
	g->launcher = launcher_path();
	if (g->launcher == NULL)
		return err_sys(e, ENOMEM, "launcher");
	if (access(g->launcher, R_OK) < 0)
		return err_sys(e, errno, "cannot read the launcher %s; is preforkd installed "
		    "completely?", g->launcher);
	if (s->virtualenv == NULL) {
		g->python = strdup(s->python);
	} else if (asprintf(&g->python, "%s/bin/python", s->virtualenv) < 0) {
		g->python = NULL;
	} else if (access(g->python, X_OK) < 0) {
		return err_sys(e, errno, "virtualenv: cannot run %s", g->python);
	}
	return g->python != NULL ? 0 : err_sys(e, ENOMEM, "python");
}

int
generation_reopen_log(struct generation *g, struct err *e)
{
	const char *path = g->settings->worker_log.path;
	int fd;

	if (g->settings->worker_log.how != WORKER_LOG_FILE)
		return 0;
	/* O_NONBLOCK so that a FIFO without a reader cannot stop the master. */
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
	if (fd < 0)
		return err_sys(e, errno, "worker-log: cannot open %s", path);
	if (fcntl(fd, F_SETFL, O_APPEND) < 0 ||
	    (g->has_ids && fchown(fd, g->uid, g->gid) < 0)) {
		int r = err_sys(e, errno, "worker-log: cannot set up %s", path);

		close(fd);
		return r;
	}
	base_close_p(&g->log_fd);
	g->log_fd = fd;
	return 0;
}

static int
fill(struct generation *g, const struct generation_plan *plan, struct err *e)
{
	const struct settings *s = g->settings;
	int r;

	policy_from_settings(s, &g->policy);
	g->per_slot = !plan->private_socket && is_per_slot(s);
	if (s->user != NULL || s->group != NULL) {
		r = spawn_lookup_ids(s->user, s->group, &g->uid, &g->gid, &g->groups,
		    &g->n_groups, e);
		if (r < 0)
			return r;
		if (geteuid() != 0 && (g->uid != geteuid() || g->gid != getegid()))
			return err_set(e, EPERM, "user, group: only root can start workers as "
			    "somebody else; leave them out or use User= of the unit");
		g->has_ids = geteuid() == 0;
	}
	if (s->chdir != NULL && access(s->chdir, X_OK) < 0)
		return err_sys(e, errno, "chdir: %s", s->chdir);
	r = prepare_program(g, e);
	if (r < 0)
		return r;
	r = generation_reopen_log(g, e);
	if (r < 0)
		return r;
	return open_listeners(g, plan, e);
}

int
generation_new(struct settings *settings, const struct generation_plan *plan,
    struct generation **ret, struct err *e)
{
	struct generation *g = calloc(1, sizeof *g);
	int r;

	if (g == NULL) {
		settings_free(settings);
		return err_sys(e, ENOMEM, "generation");
	}
	g->number = plan->number;
	g->refs = 1;
	g->settings = settings;
	g->log_fd = -1;
	r = fill(g, plan, e);
	if (r < 0) {
		generation_unref(g);
		return r;
	}
	*ret = g;
	return 0;
}

struct generation *
generation_ref(struct generation *g)
{
	g->refs++;
	return g;
}

void
generation_unref(struct generation *g)
{
	if (g == NULL || --g->refs > 0)
		return;
	for (size_t i = 0; i < g->n_listeners; i++)
		listener_unref(g->listeners[i]);
	free(g->listeners);
	free(g->groups);
	free(g->python);
	free(g->launcher);
	free(g->mold_words);
	values_free_words(g->command);
	base_close_p(&g->log_fd);
	settings_free(g->settings);
	free(g);
}

bool
generation_has_listener(const struct generation *g, const struct listener *l)
{
	for (size_t i = 0; i < g->n_listeners; i++)
		if (g->listeners[i] == l)
			return true;
	return false;
}
