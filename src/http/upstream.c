/*
 * upstream.c - preforkd-http's connection to the master.
 *
 * What cannot be understood, or comes without having been asked for, ends the connection:
 * answers are matched to calls by their order alone.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/upstream.h"

#include "base/io.h"
#include "model/varlink.h"

void
upstream_init(struct upstream *u, int fd)
{
	*u = (struct upstream){
		.fd = fd, .timeout_ms = UPSTREAM_TIMEOUT_MS, .in = BUF_INIT(2 * VARLINK_REPLY_MAX),
	};
}

void
upstream_fini(struct upstream *u)
{
	buf_free(&u->in);
	u->broken = -ECONNRESET;
}

/* The answer that is owed. 0, -ETIMEDOUT, or it is broken. */
static int
receive(struct upstream *u, uint64_t deadline_ms, json_t **ret)
{
	for (;;) {
		int r = varlink_take(&u->in, VARLINK_REPLY_MAX, ret);

		if (r == 0)
			r = io_recv(u->fd, &u->in, deadline_ms);
		else if (r > 0) {
			u->owes_answer = false;
			if (u->in.len == 0)
				buf_free(&u->in);
			return 0;
		}
		if (r < 0) {
			if (r != -ETIMEDOUT)
				u->broken = r;
			return r;
		}
	}
}

int
upstream_check(struct upstream *u)
{
	json_t *late;
	int r;

	if (u->broken < 0)
		return u->broken;
	if (u->owes_answer) {
		r = receive(u, 0, &late);
		if (r == 0)
			json_decref(late);
		return u->broken;
	}
	r = io_recv(u->fd, &u->in, 0);
	if (r != -ETIMEDOUT)
		u->broken = r < 0 ? r : -EBADMSG;
	return u->broken;
}

int
upstream_call(struct upstream *u, const char *method, json_t **ret)
{
	AUTO_BUF struct buf out = BUF_INIT(VARLINK_REQUEST_MAX);
	AUTO_BUF struct buf name = BUF_INIT(128);
	uint64_t deadline_ms = io_deadline(u->timeout_ms);
	json_t *answer;
	int r = upstream_check(u);

	if (r < 0)
		return r;
	if (u->owes_answer)
		return -ETIMEDOUT;
	(void)buf_printf(&name, VARLINK_INTERFACE ".%s", method);
	if (name.failed || varlink_put_call(&out, name.data, NULL, false) < 0)
		return -ENOMEM;
	r = io_send(u->fd, out.data, out.len, deadline_ms);
	if (r < 0) {
		/* Even a late one: half a call cannot be taken back. */
		u->broken = r;
		return r;
	}
	u->owes_answer = true;
	r = receive(u, deadline_ms, &answer);
	if (r < 0)
		return r;
	if (json_object_get(answer, "error") != NULL) {
		json_decref(answer);
		return -EREMOTEIO;
	}
	*ret = json_incref(json_object_get(answer, "parameters"));
	json_decref(answer);
	return 0;
}
