/*
 * listen.h - listening sockets: open, adopt, look after, close.
 *
 * Every socket is CLOEXEC and O_NONBLOCK; TCP ones have SO_REUSEADDR and TCP_NODELAY
 * (inherited by accepted connections). Never logs.
 */
#ifndef PREFORKD_LISTEN_H
#define PREFORKD_LISTEN_H

#include "base/base.h"
#include "base/err.h"
#include "model/sockets.h"

struct listen_options {
	int backlog;
	mode_t mode;		/* unix sockets */
	uid_t uid;		/* (uid_t)-1: unchanged */
	gid_t gid;
	bool is_quiet;		/* TCP: bound, but not listening before listener_start() */
	bool share_port;	/* TCP: beside sockets prepared with listener_share_port */
};

struct listener {
	struct address address;	/* with port 0: as the kernel chose */
	int fd;			/* owned */
	bool is_ours;		/* made here; false: adopted from systemd or fd:N */
	char *name;		/* name of LISTEN_FDNAMES, or NULL */
	struct listen_options made_with;
	dev_t dev;		/* of a unix socket's file, to unlink only our own */
	ino_t ino;
	unsigned refs;		/* generations that use it */
	struct lanes *lanes;	/* its other sockets (lanes.h), or NULL */
	bool is_quiet;		/* does not listen yet */
	bool is_blocked;	/* takes no new connections any more */
};

/* Opens one TCP or unix address. A stale unix socket file is replaced; one that
 * somebody listens on is -EADDRINUSE. e names address and reason. *ret has refs 1. */
int listener_open(const struct address *a, const struct listen_options *o,
    struct listener **ret, struct err *e);

/* A quiet one begins to listen; others do already. */
int listener_start(struct listener *l, struct err *e);

/* Switches SO_REUSEPORT of a TCP socket, also of one that listens (socket(7)): while it is on,
 * an address that overlaps, such as 127.0.0.1:80 and 0.0.0.0:80, can be opened with
 * share_port. Failures show when that open fails. */
void listener_share_port(struct listener *l, bool on);

/* Adopts an inherited descriptor that must be a listening stream socket; takes fd
 * (also on failure). */
int listener_adopt(int fd, const char *name, struct listener **ret, struct err *e);

/* Number of sockets that systemd passed to this process, from 3 up (sd_listen_fds; the
 * environment is cleared), with their names in *ret_names (owned, n strings; may be NULL).
 * Negative errno. */
int listen_inherited(char ***ret_names);

struct listener *listener_ref(struct listener *l);
/* Closes with the last reference; a unix socket file of our own is unlinked then. */
void listener_unref(struct listener *l);
static inline void
listener_unrefp(struct listener **l)
{
	listener_unref(*l);
}

/* Opens a unix socket again at its path, in the place of one that is beyond repair: whoever
 * has a copy of that one keeps the dead one. 0, or negative errno with e. */
int listener_reopen(struct listener *l, struct err *e);

/* Removes the file of a unix socket of our own, if it is still that one. */
void listener_unlink(struct listener *l);

/* True while a connection waits to be accepted. */
bool listener_has_waiting(const struct listener *l);

/* Ends accepting for everybody who holds a copy: shutdown(2). */
void listener_shutdown(struct listener *l);

/* A worker may have shut it down, made it blocking or changed its backlog. Puts back
 * what can be put back: 0 all well, 1 repaired, negative errno: beyond repair.
 * e says what was found (also with 1); its code is ESHUTDOWN when the socket listens again,
 * ESTALE when it is a new one, of which workers have no copy. */
int listener_check(struct listener *l, int backlog, struct err *e);

/* Connections waiting in the accept queue (TCP_INFO; sock_diag is not used: unix sockets
 * give -ENOTSUP), or negative errno. */
int listener_queue(const struct listener *l, unsigned *ret_len, unsigned *ret_backlog);

#endif
