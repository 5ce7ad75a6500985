/*
 * sockets.h - addresses, and what changes between two lists of them. Pure.
 */
#ifndef PREFORKD_SOCKETS_H
#define PREFORKD_SOCKETS_H

#include "base/base.h"
#include "base/err.h"
#include "model/settings.h"

#include <sys/socket.h>

enum address_kind {
	ADDRESS_TCP,		/* HOST:PORT, :PORT, [v6]:PORT */
	ADDRESS_UNIX,		/* unix:PATH or unix:@NAME */
	ADDRESS_SYSTEMD,	/* systemd, all sockets of LISTEN_FDS */
	ADDRESS_FD,		/* fd:N */
};

struct address {
	enum address_kind kind;
	struct sockaddr_storage sa;	/* TCP and UNIX */
	socklen_t sa_len;
	int fd;				/* ADDRESS_FD */
	char text[160];			/* canonical: 127.0.0.1:8000, [::1]:80, unix:/p, fd:3 */
};

/* Numeric hosts only; "localhost" is 127.0.0.1; ":80" is 0.0.0.0:80 and "[::]:80" is
 * v6-only off. Relative unix paths are resolved against base_dir. Port 0 is allowed (the
 * kernel picks; used by tests). Returns 0 or -EINVAL with e. */
int address_parse(const char *text, const char *base_dir, struct address *ret,
    struct err *e);

/* As address_parse's text, from a socket's own name. */
void address_from_sockaddr(const struct sockaddr *sa, socklen_t len,
    struct address *ret);

/* True when only processes of this machine can connect: 127.0.0.0/8, ::1. */
bool address_is_loopback(const struct address *a);

/* True when both name the same place (canonical text). */
bool address_equal(const struct address *a, const struct address *b);

/* True for two TCP addresses with one port of which one is every address of the machine. */
bool address_overlaps(const struct address *a, const struct address *b);

/* For each of n new addresses the index of the equal old one, or -1. keep has n_new
 * elements. ret_removed (n_old elements) is true for old ones that nobody keeps. */
void sockets_diff(const struct address *old, size_t n_old,
    const struct address *new_, size_t n_new, int *keep, bool *ret_removed);

#endif
