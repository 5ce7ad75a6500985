/*
 * control.c - the control socket: who is connected, and the answers to them.
 *
 * When descriptors run out, connections wait in the queue of the socket and accepting
 * pauses for a second, because the event would otherwise return at once and for ever.
 * An answer that cannot be built costs its client the connection and nothing else.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/control_private.h"

#include "model/text.h"
#include "system/clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define BACKLOG      16
#define ACCEPT_MAX   8		/* per turn */
#define PAUSE_S      1.0

/* A place for a new connection: a free one, or that of the client which has been idle
 * longest; NULL when all are being served. */
static struct control_conn *
find_place(struct control *c)
{
	struct control_conn *idlest = NULL;

	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		struct control_conn *conn = &c->conns[i];

		if (conn->fd < 0)
			return conn;
		if (conn->call == 0 && conn->out.len == 0 && !conn->is_adopted &&
		    (idlest == NULL || conn->used < idlest->used))
			idlest = conn;
	}
	if (idlest != NULL)
		control_conn_close(idlest);
	return idlest;
}

/* False when there is nothing more to accept for now. */
static bool
accept_one(struct control *c)
{
	int fd = accept4(c->listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct control_conn *conn;

	if (fd < 0) {
		if (errno == EINTR || errno == ECONNABORTED)
			return true;
		if (errno != EAGAIN) {
			if (log_limit_pass(&c->accept_log, clock_now_ms(), NULL))
				log_warn("control: cannot accept: %m, trying again in a second");
			ev_io_stop(c->loop, &c->acceptor);
			ev_timer_set(&c->accept_pause, PAUSE_S, 0.0);
			ev_timer_start(c->loop, &c->accept_pause);
		}
		return false;
	}
	conn = find_place(c);
	if (conn == NULL) {
		if (log_limit_pass(&c->accept_log, clock_now_ms(), NULL))
			log_warn("control: all %d connections wait for an answer, refusing another",
			    CONTROL_CLIENTS_MAX);
		close(fd);
		return true;
	}
	control_conn_open(conn, fd);
	return true;
}

static void
on_acceptable(struct ev_loop *loop UNUSED, ev_io *w, int revents UNUSED)
{
	struct control *c = container_of(w, struct control, acceptor);

	for (int i = 0; i < ACCEPT_MAX && accept_one(c); i++)
		;
}

static void
on_accept_again(struct ev_loop *loop, ev_timer *t, int revents UNUSED)
{
	struct control *c = container_of(t, struct control, accept_pause);

	ev_io_start(loop, &c->acceptor);
}

struct control *
control_new(struct ev_loop *loop, const struct control_ops *ops, void *ctx)
{
	struct control *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->loop = loop;
	c->ops = ops;
	c->ctx = ctx;
	c->wait_s[CW_IDLE] = 300.0;
	c->wait_s[CW_REQUEST] = 10.0;
	c->wait_s[CW_SEND] = 10.0;
	c->accept_log = (struct log_limit){ .burst = 1, .interval_ms = 60 * MSEC_PER_SEC };
	c->client_log = (struct log_limit){ .burst = 5, .interval_ms = 60 * MSEC_PER_SEC };
	ev_init(&c->acceptor, on_acceptable);
	ev_timer_init(&c->accept_pause, on_accept_again, 0.0, 0.0);
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
		control_conn_init(&c->conns[i], c);
	return c;
}

/* Makes the folders above path that are missing, 0755 whatever the umask is: who may
 * use the socket is said by the socket's own mode. */
static int
make_folders(const char *path, struct err *e)
{
	AUTO_FREE char *folder = strdup(path);

	if (folder == NULL)
		return err_set(e, ENOMEM, "out of memory");
	for (char *slash = strchr(folder + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(folder, 0755) == 0) {
			if (chmod(folder, 0755) < 0)
				return err_sys(e, errno, "cannot set the mode of '%s'", folder);
		} else if (errno != EEXIST && access(folder, F_OK) < 0) {
			return err_sys(e, errno, "cannot create the folder '%s'", folder);
		}
		*slash = '/';
	}
	return 0;
}

int
control_listen(struct control *c, const struct control_path *where, struct err *e)
{
	struct address address = { .kind = ADDRESS_UNIX, .fd = -1 };
	const struct listen_options options = {
		.backlog = BACKLOG, .mode = where->mode, .uid = (uid_t)-1, .gid = where->gid,
	};
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	size_t len = strlen(where->path);
	int r;

	if (where->path[0] != '/')
		return err_set(e, EINVAL, "control: '%s' is not an absolute path", where->path);
	if (len >= sizeof(sa.sun_path))
		return err_set(e, ENAMETOOLONG, "control: '%s' is longer than the %zu bytes that a"
		    " socket's path may have", where->path, sizeof(sa.sun_path) - 1);
	r = make_folders(where->path, e);
	if (r < 0)
		return r;
	memcpy(sa.sun_path, where->path, len + 1);
	memcpy(&address.sa, &sa, sizeof(sa));
	address.sa_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
	snprintf(address.text, sizeof(address.text), "unix:%s", where->path);
	r = listener_open(&address, &options, &c->listener, e);
	if (r < 0)
		return r;
	ev_io_set(&c->acceptor, c->listener->fd, EV_READ);
	ev_io_start(c->loop, &c->acceptor);
	return 0;
}

int
control_adopt(struct control *c, int fd)
{
	struct control_conn *conn = find_place(c);
	int flags = fcntl(fd, F_GETFL);

	if (conn == NULL || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		int r = conn == NULL ? -EMFILE : -errno;

		close(fd);
		return r;
	}
	conn->is_adopted = true;
	control_conn_open(conn, fd);
	return 0;
}

/* NULL: the client has gone, or wanted no answer. */
static struct control_conn *
find_call(struct control *c, control_call_id id)
{
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (id != 0 && c->conns[i].fd >= 0 && c->conns[i].call == id)
			return &c->conns[i];
	return NULL;
}

void
control_progress(struct control *c, control_call_id id, const char *text)
{
	struct control_conn *conn = find_call(c, id);
	json_t *parameters;

	if (conn == NULL || !conn->wants_more || conn->out.len > CONTROL_PROGRESS_MAX)
		return;
	parameters = json_pack("{s:o}", "progress", text_to_json(text));
	if (parameters == NULL || varlink_put_reply(&conn->out, parameters, true) < 0)
		conn->is_broken = true;
	json_decref(parameters);
	control_conn_wake(conn);
}

void
control_answer(struct control *c, control_call_id id, const char *error, json_t *parameters)
{
	struct control_conn *conn = find_call(c, id);
	int r;

	if (conn == NULL) {
		json_decref(parameters);
		return;
	}
	r = error == NULL ? varlink_put_reply(&conn->out, parameters, false) :
	    varlink_put_error(&conn->out, error, parameters);
	json_decref(parameters);
	if (r < 0)
		conn->is_broken = true;
	conn->call = 0;
	control_conn_wake(conn);
}

void
control_stream(struct control_conn *conn)
{
	struct control *c = conn->owner;
	bool is_last = false;
	json_t *part = c->ops->memory(c->ctx, &conn->cursor, &is_last);

	if (part == NULL || varlink_put_reply(&conn->out, part, !is_last) < 0)
		conn->is_broken = true;
	json_decref(part);
	if (is_last || conn->is_broken) {
		conn->streams = false;
		conn->call = 0;
	}
}

void
control_reply(struct control *c, control_call_id id, json_t *parameters)
{
	control_answer(c, id, NULL, parameters);
}

void
control_error(struct control *c, control_call_id id, const char *error, const char *reason,
    const char *last_words)
{
	const struct control_conn *conn = find_call(c, id);
	char name[128];
	json_t *parameters;

	if (conn == NULL)
		return;
	snprintf(name, sizeof(name), VARLINK_INTERFACE ".%s", error);
	if (strcmp(error, "NoSuchSlot") == 0)
		parameters = json_pack("{s:I}", "slot", (json_int_t)conn->slot);
	else
		parameters = json_pack("{s:o}", "reason", text_to_json(reason));
	if (parameters != NULL && last_words != NULL)
		(void)json_object_set_new(parameters, "last_words", text_to_json(last_words));
	control_answer(c, id, name, parameters);
}

bool
control_has_unsent(const struct control *c)
{
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (c->conns[i].out.len > 0)
			return true;
	return false;
}

void
control_free(struct control *c)
{
	if (c == NULL)
		return;
	ev_io_stop(c->loop, &c->acceptor);
	ev_timer_stop(c->loop, &c->accept_pause);
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
		control_conn_close(&c->conns[i]);
	listener_unref(c->listener);
	free(c);
}
