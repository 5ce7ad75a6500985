/*
 * control.h - the control socket: a Varlink service for preforkctl and others.
 *
 * Owns the listening unix socket and its connections. Bounded: CONTROL_CLIENTS_MAX
 * connections, VARLINK_REQUEST_MAX bytes of request, a limit on unsent reply bytes,
 * deadlines for what a client owes. A client that does not read is dropped, never waited
 * for; when all places are taken, the one that has been idle longest makes room. What a
 * command does is the master's: control finds the method, checks the parameters' shape
 * and calls the function in struct control_ops.
 *
 * A call that takes time is answered later by its id; when the client has gone in
 * between, the late answers do nothing. A connection's next call is looked at when the
 * one before is answered and sent. Functions here may be called from within the
 * functions of struct control_ops, control_free excepted.
 *
 * Who may do what: the socket's mode and group decide who can connect, and whoever can
 * connect may call everything. Commands that change something are logged with the uid
 * and pid that the kernel names (SO_PEERCRED). An adopted connection only reads.
 */
#ifndef PREFORKD_CONTROL_H
#define PREFORKD_CONTROL_H

#include "base/base.h"
#include "base/err.h"

#include <ev.h>
#include <jansson.h>

#define CONTROL_CLIENTS_MAX 32

struct control;

typedef uint64_t control_call_id;	/* never 0 */

/* Each function either answers at once with control_reply/control_error, or keeps the
 * id and answers later. */
struct control_ops {
	/* A new reference to the status object. */
	json_t *(*status)(void *ctx);
	void (*reload)(void *ctx, control_call_id id);
	/* slot 0: all. Answered when the replacement is done if wait is set. */
	void (*recycle)(void *ctx, control_call_id id, unsigned slot, bool wait);
	void (*scale)(void *ctx, control_call_id id, unsigned workers);
	void (*stop)(void *ctx, control_call_id id, bool quick);
	/* What its threads are doing; or, with memory, what it allocates and keeps, traced for so
	 * many seconds (0: the agent's default) unless it traces already. */
	void (*report)(void *ctx, control_call_id id, unsigned slot, bool memory,
	    unsigned seconds);
	/* The next part of the answer to Memory, an owned object; *cursor is 0 for the first part and
	 * the master's own after that; *ret_last says that it was the last. NULL: out of memory. */
	json_t *(*memory)(void *ctx, uint64_t *cursor, bool *ret_last);
};

struct control_path {
	const char *path;
	mode_t mode;
	gid_t gid;		/* (gid_t)-1: unchanged */
};

/* Makes the object without any listening socket. NULL: out of memory. */
struct control *control_new(struct ev_loop *loop, const struct control_ops *ops, void *ctx);

/* Binds the socket (missing parent folders: created 0755; a stale socket file is replaced,
 * one that a living process answers on is refused with -EADDRINUSE). At most once. */
int control_listen(struct control *c, const struct control_path *where, struct err *e);

/* Adopts one connected stream socket (preforkd-http's end). It may only read (Status, Ping),
 * since its process faces the network, and it may idle as long as it likes. Takes fd (also
 * on failure). -ENOMEM, -EMFILE when every place is busy. */
int control_adopt(struct control *c, int fd);

/* Progress of a call made with more=true; nothing otherwise. */
void control_progress(struct control *c, control_call_id id, const char *text);
/* parameters: stolen, may be NULL. */
void control_reply(struct control *c, control_call_id id, json_t *parameters);
/* error: a name of the interface ("ReloadFailed", "Refused", "NoSuchSlot"); reason: for people,
 * not sent with NoSuchSlot, which carries the slot of the call. last_words may be NULL. */
void control_error(struct control *c, control_call_id id, const char *error,
    const char *reason, const char *last_words);

/* True while replies wait to be sent; the master lets them out before it exits. */
bool control_has_unsent(const struct control *c);

/* Closes everything and unlinks the socket if it is still ours. NULL is fine. */
void control_free(struct control *c);

#endif
