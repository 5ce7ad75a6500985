/*
 * place.c - see place.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/place.h"

#include "master/master.h"
#include "model/runtime.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static int
listen_at(struct master *m, const char *path, struct err *e)
{
	const struct settings *s = m->pool.gen->settings;
	struct control_path where = {
		.path = path, .mode = (mode_t)s->control_mode, .gid = (gid_t)-1,
	};
	int r;

	if (s->control_group != NULL) {
		AUTO_FREE gid_t *groups = NULL;
		size_t n;
		uid_t uid;

		r = spawn_lookup_ids(NULL, s->control_group, &uid, &where.gid, &groups, &n, e);
		if (r < 0)
			return r;
	}
	r = control_listen(m->control, &where, e);
	if (r < 0)
		return r;
	m->control_path = strdup(path);
	log_info("control socket %s", path);
	return 0;
}

void
place_control(struct master *m)
{
	const struct settings *s = m->pool.gen->settings;
	struct string_list list = {0};
	struct err e = {0};

	if (s->control != NULL) {
		if (listen_at(m, s->control, &e) < 0)
			log_warn("no control socket: %s", e.text);
		return;
	}
	if (runtime_control_candidates(s->name, getenv("RUNTIME_DIRECTORY"),
	    getenv("XDG_RUNTIME_DIR"), &list) < 0) {
		log_warn("no control socket: out of memory");
		return;
	}
	for (size_t i = 0; i < list.n; i++) {
		int r = listen_at(m, list.v[i], &e);

		/* Another instance of this name answers there: a second place would hide it. */
		if (r >= 0 || r == -EADDRINUSE)
			break;
	}
	if (m->control_path == NULL)
		log_warn("no control socket, preforkctl cannot reach this instance: %s", e.code != 0
		    ? e.text : "no folder for it; set `control`");
	runtime_free_candidates(&list);
}

int
place_pidfile(struct master *m, struct err *e)
{
	const char *path = m->pool.gen->settings->pidfile;
	AUTO_FREE char *tmp = NULL;
	AUTO_CLOSE int fd = -1;
	char text[32];
	int n;

	if (path == NULL)
		return 0;
	if (asprintf(&tmp, "%s.%d", path, (int)getpid()) < 0)
		return err_sys(e, ENOMEM, "pidfile");
	n = snprintf(text, sizeof text, "%d\n", (int)getpid());
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0 || write(fd, text, (size_t)n) != n || rename(tmp, path) < 0) {
		int r = err_sys(e, errno, "pidfile: cannot write %s", path);

		unlink(tmp);
		return r;
	}
	m->pidfile = strdup(path);
	return 0;
}

static bool
is_our_pidfile(const char *path)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char text[32] = "", ours[32];

	if (fd < 0 || read(fd, text, sizeof text - 1) < 0)
		return false;
	snprintf(ours, sizeof ours, "%d\n", (int)getpid());
	return strcmp(text, ours) == 0;
}

void
place_remove(struct master *m)
{
	if (m->pidfile != NULL && is_our_pidfile(m->pidfile))
		unlink(m->pidfile);
	free(m->pidfile);
	free(m->control_path);
	m->pidfile = NULL;
	m->control_path = NULL;
}
