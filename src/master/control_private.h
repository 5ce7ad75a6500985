/*
 * control_private.h - what the files of the control socket share.
 *
 *   control.c         the object: its listening socket, its clients, answers
 *   control_conn.c    one connection: bytes in, bytes out, deadlines
 *   control_method.c  one message: which method, are its parameters right
 *
 * Nobody else includes this but the unit test, which shortens the deadlines.
 */
#ifndef PREFORKD_CONTROL_PRIVATE_H
#define PREFORKD_CONTROL_PRIVATE_H

#include "base/buf.h"
#include "base/log.h"
#include "master/control.h"
#include "model/varlink.h"
#include "system/listen.h"

#define CONTROL_UNSENT_MAX (VARLINK_REPLY_MAX + 65536u)
#define CONTROL_PROGRESS_MAX 65536u	/* unsent bytes beyond which progress is left out */

/* What a connection's timer waits for. */
enum control_wait {
	CW_NOTHING,		/* its call is being worked on */
	CW_IDLE,		/* the next call */
	CW_REQUEST,		/* the rest of a call that has begun */
	CW_SEND,		/* that it reads what we send */
	CW_N
};

struct control_conn {
	struct control *owner;
	int fd;			/* -1: this place is free */
	uid_t uid;
	pid_t pid;
	bool is_adopted;
	bool is_broken;		/* to be closed on the next turn */
	bool at_eof;		/* sends nothing more, but may still read */
	control_call_id call;	/* being worked on; 0: none */
	bool wants_more;
	bool streams;		/* its answer has parts: the next one when this one is sent */
	uint64_t cursor;	/* where the master is in it */
	uint64_t slot;		/* parameter of that call, for NoSuchSlot */
	uint64_t used;		/* when it last did something, in the owner's count */
	struct buf in, out;
	ev_io readable, writable;
	ev_timer deadline;
	enum control_wait waits_for;
};

struct control {
	struct ev_loop *loop;
	const struct control_ops *ops;
	void *ctx;
	struct listener *listener;	/* NULL: none */
	ev_io acceptor;
	ev_timer accept_pause;		/* descriptors ran out */
	control_call_id last_id;
	uint64_t uses;
	double wait_s[CW_N];
	struct log_limit accept_log, client_log;
	struct control_conn conns[CONTROL_CLIENTS_MAX];
};

/* control_conn.c */
void control_conn_init(struct control_conn *conn, struct control *owner);
/* Takes fd and starts to listen to it; the place must be free. */
void control_conn_open(struct control_conn *conn, int fd);
void control_conn_close(struct control_conn *conn);
/* To be called after something was appended to conn->out. */
void control_conn_wake(struct control_conn *conn);

/* control_method.c: takes the message. Sets conn->is_broken when it is no call. */
void control_dispatch(struct control_conn *conn, json_t *message);

/* control.c: the one answer to a call; error is a full name, or NULL. parameters is
 * stolen and may be NULL. */
void control_answer(struct control *c, control_call_id id, const char *error,
    json_t *parameters);

/* control.c: puts the next part of conn's answer into its buffer. */
void control_stream(struct control_conn *conn);

#endif
