/*
 * client.c - preforkctl's end of the control socket.
 *
 * A call is sent whole and its answers are read until the last one. After any failure
 * the connection is of no use any more and is to be closed.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ctl/client.h"

#include "base/io.h"
#include "model/varlink.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#define CONNECT_MS UINT64_C(10000)	/* for callers without a deadline */

/* A full queue makes connect(2) wait, on unix sockets even past poll(2). */
static int
limit_connect(int fd, uint64_t deadline_ms)
{
	uint64_t now = io_now_ms();
	uint64_t left = deadline_ms == IO_NO_DEADLINE ? CONNECT_MS :
	    deadline_ms > now ? deadline_ms - now : 1;
	struct timeval tv = {
		.tv_sec = (time_t)(left / MSEC_PER_SEC),
		.tv_usec = (suseconds_t)(left % MSEC_PER_SEC * USEC_PER_MSEC),
	};

	return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0 ? -errno : 0;
}

int
client_connect(struct client *c, const char *path, uint64_t deadline_ms, struct err *e)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct ucred peer = { .pid = 0 };
	socklen_t len = sizeof(peer);
	size_t n = strlen(path);
	AUTO_CLOSE int fd = -1;

	if (n >= sizeof(sa.sun_path))
		return err_sys(e, ENAMETOOLONG, "cannot connect to '%s'", path);
	memcpy(sa.sun_path, path, n + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || limit_connect(fd, deadline_ms) < 0)
		return err_sys(e, errno, "cannot make a socket");
	if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0) {
		if (errno == EAGAIN || errno == EINPROGRESS)
			return err_set(e, ETIMEDOUT, "'%s' does not accept the connection", path);
		return err_sys(e, errno, "cannot connect to '%s'", path);
	}
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		peer.pid = 0;
	*c = (struct client){ .peer = peer.pid, .in = BUF_INIT(2 * VARLINK_REPLY_MAX) };
	c->fd = TAKE_FD(fd);
	return 0;
}

void
client_close(struct client *c)
{
	base_close_p(&c->fd);
	buf_free(&c->in);
}

static int
send_call(struct client *c, const struct client_call *call, uint64_t deadline_ms)
{
	AUTO_BUF struct buf out = BUF_INIT(VARLINK_REQUEST_MAX);
	char method[128];
	int r = snprintf(method, sizeof(method), VARLINK_INTERFACE ".%s", call->method);

	if (r < 0 || (size_t)r >= sizeof(method))
		return -EINVAL;
	if (call->is_oneway)
		r = varlink_put_oneway(&out, method, call->parameters);
	else
		r = varlink_put_call(&out, method, call->parameters,
		    call->on_progress != NULL || call->on_part != NULL);
	return r < 0 ? r : io_send(c->fd, out.data, out.len, deadline_ms);
}

/* The next message of the other side. */
static int
receive(struct client *c, uint64_t deadline_ms, json_t **ret)
{
	for (;;) {
		int r = varlink_take(&c->in, VARLINK_REPLY_MAX, ret);

		if (r != 0)
			return r < 0 ? r : 0;
		r = io_recv(c->fd, &c->in, deadline_ms);
		if (r < 0)
			return r;
	}
}

static int
explain(int r, struct err *e)
{
	switch (-r) {
	case ETIMEDOUT:
		return err_set(e, ETIMEDOUT, "no answer in time");
	case EPIPE:
	case ECONNRESET:
		return err_set(e, ECONNRESET, "the connection was closed before the answer");
	case EMSGSIZE:
	case EBADMSG:
		return err_set(e, EBADMSG, "the answer is not understood");
	}
	return err_sys(e, -r, "cannot speak with the master");
}

int
client_call(struct client *c, const struct client_call *call, uint64_t deadline_ms,
    struct client_answer *ret, struct err *e)
{
	static const char ours[] = VARLINK_INTERFACE ".";
	struct client_answer a = { 0 };
	int r = send_call(c, call, deadline_ms);

	if (r < 0)
		return explain(r, e);
	if (call->is_oneway)
		return 0;
	for (;;) {
		const char *progress;

		r = receive(c, deadline_ms, &a.message);
		if (r < 0)
			return explain(r, e);
		a.parameters = json_object_get(a.message, "parameters");
		if (!json_is_true(json_object_get(a.message, "continues")))
			break;
		progress = json_string_value(json_object_get(a.parameters, "progress"));
		if (progress != NULL && call->on_progress != NULL)
			call->on_progress(progress);
		r = call->on_part != NULL ? call->on_part(call->ctx, a.parameters) : 0;
		json_decref(a.message);
		if (r < 0)
			return explain(r, e);
	}
	a.error = json_string_value(json_object_get(a.message, "error"));
	if (a.error != NULL && strncmp(a.error, ours, strlen(ours)) == 0)
		a.error += strlen(ours);
	*ret = a;
	return 0;
}

void
client_answer_done(struct client_answer *a)
{
	json_decref(a->message);
	*a = (struct client_answer){ 0 };
}

int
client_wait_closed(struct client *c, uint64_t deadline_ms)
{
	int r;

	do {
		buf_clear(&c->in);
		r = io_recv(c->fd, &c->in, deadline_ms);
	} while (r == 0);
	return r == -ECONNRESET ? 0 : r;
}
