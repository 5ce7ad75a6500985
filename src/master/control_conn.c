/*
 * control_conn.c - one client of the control socket.
 *
 * Reads and writes without ever blocking, one buffer and one call per turn of the loop,
 * so that a client that pipelines a thousand calls costs the workers nothing. A call is
 * only taken when everything that was answered before has been sent: a client that does
 * not read is not listened to either. Any failure closes the connection.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/control_private.h"

#include "system/clock.h"

#include <assert.h>
#include <poll.h>
#include <sys/socket.h>

#define READ_MAX  4096
#define WRITE_MAX 65536		/* per turn */
#define KEEP_MAX  4096		/* memory that an idle connection keeps */

static void
wait_for(struct control_conn *conn, enum control_wait what)
{
	struct control *c = conn->owner;

	ev_timer_stop(c->loop, &conn->deadline);
	conn->waits_for = what;
	if (c->wait_s[what] > 0.0 && !(what == CW_IDLE && conn->is_adopted)) {
		/* From now, not from the beginning of a turn that may have been long. */
		ev_now_update(c->loop);
		ev_timer_set(&conn->deadline, c->wait_s[what], 0.0);
		ev_timer_start(c->loop, &conn->deadline);
	}
}

/* Starts and stops the watchers as the connection's state wants. */
static void
settle(struct control_conn *conn)
{
	struct control *c = conn->owner;
	enum control_wait what;

	if (conn->at_eof || conn->in.len > VARLINK_REQUEST_MAX)
		ev_io_stop(c->loop, &conn->readable);
	else
		ev_io_start(c->loop, &conn->readable);

	if (conn->out.len > 0)
		what = CW_SEND;
	else if (conn->call != 0)
		what = CW_NOTHING;
	else
		what = conn->in.len > 0 ? CW_REQUEST : CW_IDLE;
	/* What has begun keeps its deadline: one byte a second is not progress. */
	if (what != conn->waits_for)
		wait_for(conn, what);
}

/* Nobody can read an answer any more: the peer has closed both directions. */
static bool
has_hung_up(const struct control_conn *conn)
{
	struct pollfd p = { .fd = conn->fd, .events = 0 };

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR)) != 0;
}

/* Takes the next call if it is time for it, and says what is waited for then. */
static void
advance(struct control_conn *conn)
{
	struct control *c = conn->owner;
	json_t *message;
	int r;

	if (conn->call == 0 && conn->out.len == 0) {
		r = varlink_take(&conn->in, VARLINK_REQUEST_MAX, &message);
		if (r < 0 && log_limit_pass(&c->client_log, clock_now_ms(), NULL))
			log_info("control: %s from uid %u pid %d, closing its connection",
			    r == -EMSGSIZE ? "an over-long request" : "no JSON",
			    (unsigned)conn->uid, (int)conn->pid);
		if (r < 0 || (r == 0 && conn->at_eof)) {
			control_conn_close(conn);
			return;
		}
		if (r == 0) {
			ev_io_stop(c->loop, &conn->writable);
			if (conn->in.len == 0 && conn->in.cap > KEEP_MAX)
				buf_free(&conn->in);
		} else {
			conn->used = ++c->uses;
			/* An answer, or the next call, on the next turn. */
			ev_io_start(c->loop, &conn->writable);
			control_dispatch(conn, message);
		}
	} else if (conn->out.len == 0 && conn->streams) {
		control_stream(conn);
	} else if (conn->out.len == 0) {
		ev_io_stop(c->loop, &conn->writable);
	}
	settle(conn);
}

static void
on_readable(struct ev_loop *loop UNUSED, ev_io *w, int revents UNUSED)
{
	struct control_conn *conn = container_of(w, struct control_conn, readable);
	char data[READ_MAX];
	ssize_t n = recv(conn->fd, data, sizeof(data), 0);

	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			control_conn_close(conn);
		return;
	}
	if (n == 0) {
		conn->at_eof = true;
		if (has_hung_up(conn) && (conn->call != 0 || conn->out.len > 0)) {
			control_conn_close(conn);
			return;
		}
	} else if (buf_append(&conn->in, data, (size_t)n) < 0) {
		control_conn_close(conn);
		return;
	}
	advance(conn);
}

static void
on_writable(struct ev_loop *loop UNUSED, ev_io *w, int revents UNUSED)
{
	struct control_conn *conn = container_of(w, struct control_conn, writable);

	if (conn->is_broken || conn->out.failed) {
		control_conn_close(conn);
		return;
	}
	if (conn->out.len > 0) {
		ssize_t n = send(conn->fd, conn->out.data, MIN_OF(conn->out.len, WRITE_MAX),
		    MSG_NOSIGNAL);

		if (n < 0) {
			if (errno != EAGAIN && errno != EINTR)
				control_conn_close(conn);
			return;
		}
		buf_consume(&conn->out, (size_t)n);
		wait_for(conn, CW_NOTHING);	/* it reads: the deadline begins anew */
		if (conn->out.len == 0 && conn->out.cap > KEEP_MAX)
			buf_free(&conn->out);
	}
	advance(conn);
}

static void
on_deadline(struct ev_loop *loop UNUSED, ev_timer *t, int revents UNUSED)
{
	struct control_conn *conn = container_of(t, struct control_conn, deadline);
	static const char *const why[CW_N] = {
		[CW_NOTHING] = "", [CW_IDLE] = "is idle", [CW_REQUEST] = "does not finish its call",
		[CW_SEND] = "does not read",
	};

	log_debug("control: client uid %u pid %d %s, closing its connection", (unsigned)conn->uid,
	    (int)conn->pid, why[conn->waits_for]);
	control_conn_close(conn);
}

void
control_conn_init(struct control_conn *conn, struct control *owner)
{
	*conn = (struct control_conn){
		.owner = owner,
		.fd = -1,
		.in = BUF_INIT(VARLINK_REQUEST_MAX + READ_MAX),
		.out = BUF_INIT(CONTROL_UNSENT_MAX),
	};
	ev_init(&conn->readable, on_readable);
	ev_init(&conn->writable, on_writable);
	ev_timer_init(&conn->deadline, on_deadline, 0.0, 0.0);
}

void
control_conn_open(struct control_conn *conn, int fd)
{
	struct ucred peer = { .pid = 0, .uid = (uid_t)-1, .gid = (gid_t)-1 };
	socklen_t len = sizeof(peer);

	assert(conn->fd < 0);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0) {
		conn->uid = peer.uid;
		conn->pid = peer.pid;
	} else {
		conn->uid = (uid_t)-1;
		conn->pid = 0;
	}
	conn->fd = fd;
	conn->used = ++conn->owner->uses;
	conn->waits_for = CW_NOTHING;
	ev_io_set(&conn->readable, fd, EV_READ);
	ev_io_set(&conn->writable, fd, EV_WRITE);
	settle(conn);
}

void
control_conn_close(struct control_conn *conn)
{
	struct control *owner = conn->owner;

	if (conn->fd < 0)
		return;
	ev_io_stop(owner->loop, &conn->readable);
	ev_io_stop(owner->loop, &conn->writable);
	ev_timer_stop(owner->loop, &conn->deadline);
	close(conn->fd);
	buf_free(&conn->in);
	buf_free(&conn->out);
	control_conn_init(conn, owner);
}

void
control_conn_wake(struct control_conn *conn)
{
	ev_io_start(conn->owner->loop, &conn->writable);
	settle(conn);
}
