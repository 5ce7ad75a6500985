/*
 * listen.c - listening sockets.
 *
 * Opening names the address, the reason and what to do about it. A unix socket
 * file is replaced only when it is certain that nobody listens there, and
 * removed at the end only when it is still the one that was made here.
 *
 * Workers share the open socket and can spoil it: shutdown(2), O_NONBLOCK and
 * listen(2) act on every copy. listener_check finds that out and undoes it as
 * far as the kernel lets it.
 */
#include "system/listen.h"

#include "system/lanes.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

static bool
is_unix_path(const struct address *a)
{
	const struct sockaddr_un *un = (const void *)&a->sa;

	return a->kind == ADDRESS_UNIX && un->sun_path[0] != '\0';
}

static const char *
unix_path(const struct address *a)
{
	const struct sockaddr_un *un = (const void *)&a->sa;

	return un->sun_path;
}

static unsigned
address_port(const struct address *a)
{
	if (a->sa.ss_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)(const void *)&a->sa)->sin_port);
	if (a->sa.ss_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)(const void *)&a->sa)->sin6_port);
	return 0;
}

static int
set_option(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int
get_option(int fd, int name)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0 ? -errno : value;
}

static int
explain_bind(const struct address *a, int code, struct err *e)
{
	unsigned port = address_port(a);

	if (code == EADDRINUSE && a->kind == ADDRESS_TCP)
		return err_set(e, code, "cannot listen on %s: another process does already; "
		    "'ss -ltnp sport = :%u' shows which: stop it, or choose another "
		    "port with listen =", a->text, port);
	if (code == EADDRINUSE)
		return err_set(e, code, "cannot listen on %s: another process does already; "
		    "'ss -lxp' shows which: stop it, or choose another path with listen =",
		    a->text);
	if (code == EACCES && a->kind == ADDRESS_TCP && port < 1024)
		return err_set(e, code, "cannot listen on %s: ports below 1024 need the "
		    "capability CAP_NET_BIND_SERVICE (AmbientCapabilities= in the unit) or "
		    "socket activation (listen = systemd)", a->text);
	if (code == EADDRNOTAVAIL)
		return err_set(e, code, "cannot listen on %s: this machine has no such address",
		    a->text);
	if (code == EAFNOSUPPORT)
		return err_set(e, code, "cannot listen on %s: this machine has no IPv%c",
		    a->text, a->sa.ss_family == AF_INET6 ? '6' : '4');
	if (code == ENOENT && is_unix_path(a))
		return err_set(e, code, "cannot listen on %s: its folder does not exist",
		    a->text);
	if (code == EACCES && is_unix_path(a))
		return err_set(e, code, "cannot listen on %s: no permission to create a file "
		    "in its folder", a->text);
	return err_sys(e, code, "cannot listen on %s", a->text);
}

/* Whether the file at the address is a socket that nobody listens on: 1, 0: somebody
 * does, or negative errno with e. */
static int
probe_stale(const struct address *a, struct err *e)
{
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return err_sys(e, errno, "cannot listen on %s", a->text);
	if (connect(fd, (const struct sockaddr *)&a->sa, a->sa_len) == 0)
		return 0;
	if (errno == ECONNREFUSED || errno == ENOENT)
		return 1;
	/* EAGAIN: its queue is full; EPROTOTYPE: a socket of another type */
	if (errno == EAGAIN || errno == EPROTOTYPE)
		return 0;
	return err_sys(e, errno, "cannot listen on %s: cannot tell whether the socket that is "
	    "there is in use", a->text);
}

static int
remove_stale(const struct address *a, struct err *e)
{
	const char *path = unix_path(a);
	struct stat st, again;
	int r;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : explain_bind(a, errno, e);
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, EADDRINUSE, "cannot listen on %s: the file that is there is no "
		    "socket and is left alone", a->text);
	r = probe_stale(a, e);
	if (r < 0)
		return r;
	if (r == 0)
		return explain_bind(a, EADDRINUSE, e);
	/* somebody may have replaced it since */
	if (lstat(path, &again) == 0 &&
	    (again.st_dev != st.st_dev || again.st_ino != st.st_ino))
		return explain_bind(a, EADDRINUSE, e);
	if (unlink(path) < 0 && errno != ENOENT)
		return err_sys(e, errno, "cannot listen on %s: cannot remove the stale socket "
		    "file", a->text);
	return 0;
}

/* The file never has more permissions than it shall have in the end. */
static int
bind_with_mode(int fd, const struct address *a, mode_t mode)
{
	mode_t before = umask(0777 & ~mode);
	int r = bind(fd, (const struct sockaddr *)&a->sa, a->sa_len) < 0 ? -errno : 0;

	umask(before);
	return r;
}

static int
open_unix(struct listener *l, const struct listen_options *o, struct err *e)
{
	const struct address *a = &l->address;
	struct stat st;
	int r = bind_with_mode(l->fd, a, o->mode);

	if (r == -EADDRINUSE && is_unix_path(a)) {
		r = remove_stale(a, e);
		if (r < 0)
			return r;
		r = bind_with_mode(l->fd, a, o->mode);
	}
	if (r < 0)
		return explain_bind(a, -r, e);
	if (!is_unix_path(a))
		return 0;
	if (lstat(unix_path(a), &st) < 0)
		return explain_bind(a, errno, e);
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	if ((o->uid != (uid_t)-1 || o->gid != (gid_t)-1) &&
	    lchown(unix_path(a), o->uid, o->gid) < 0)
		return err_sys(e, errno, "cannot give %s to socket-user or socket-group",
		    a->text);
	return 0;
}

static int
open_tcp(struct listener *l, const struct listen_options *o, struct err *e)
{
	const struct address *a = &l->address;
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int r = set_option(l->fd, SOL_SOCKET, SO_REUSEADDR, 1);

	if (r == 0)
		r = set_option(l->fd, IPPROTO_TCP, TCP_NODELAY, 1);
	if (r == 0 && a->sa.ss_family == AF_INET6)
		r = set_option(l->fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
	if (r == 0 && o->share_port)
		r = set_option(l->fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (r == 0 && bind(l->fd, (const struct sockaddr *)&a->sa, a->sa_len) < 0)
		r = -errno;
	if (r < 0)
		return explain_bind(a, -r, e);
	if (address_port(a) != 0)
		return 0;
	if (getsockname(l->fd, (struct sockaddr *)&sa, &len) < 0)
		return explain_bind(a, errno, e);
	address_from_sockaddr((const struct sockaddr *)&sa, len, &l->address);
	return 0;
}

int
listener_open(const struct address *a, const struct listen_options *o,
    struct listener **ret, struct err *e)
{
	CLEANUP(listener_unrefp) struct listener *l = NULL;
	int r;

	if (a->kind != ADDRESS_TCP && a->kind != ADDRESS_UNIX)
		return err_set(e, EINVAL, "cannot listen on %s: it is no address", a->text);
	l = calloc(1, sizeof(*l));
	if (!l)
		return explain_bind(a, ENOMEM, e);
	l->address = *a;
	l->refs = 1;
	l->is_ours = true;
	l->made_with = *o;
	l->fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0)
		return explain_bind(a, errno, e);
	r = a->kind == ADDRESS_UNIX ? open_unix(l, o, e) : open_tcp(l, o, e);
	if (r < 0)
		return r;
	l->is_quiet = true;
	if (!o->is_quiet)
		r = listener_start(l, e);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(l);
	return 0;
}

int
listener_start(struct listener *l, struct err *e)
{
	if (l->is_quiet && listen(l->fd, l->made_with.backlog) < 0)
		return explain_bind(&l->address, errno, e);
	l->is_quiet = false;
	return 0;
}

int
listener_reopen(struct listener *l, struct err *e)
{
	struct listener fresh = { .address = l->address, .made_with = l->made_with, .fd = -1 };
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return explain_bind(&l->address, errno, e);
	listener_unlink(l);
	fresh.fd = fd;
	r = open_unix(&fresh, &l->made_with, e);
	if (r < 0)
		return r;
	l->dev = fresh.dev;
	l->ino = fresh.ino;
	/* Everybody here knows the socket by its number. */
	if (listen(fd, l->made_with.backlog) < 0 || dup3(fd, l->fd, O_CLOEXEC) < 0)
		return explain_bind(&l->address, errno, e);
	return 0;
}

void
listener_share_port(struct listener *l, bool on)
{
	if (l->address.kind == ADDRESS_TCP)
		(void)set_option(l->fd, SOL_SOCKET, SO_REUSEPORT, on);
}

int
listener_adopt(int fd, const char *name, struct listener **ret, struct err *e)
{
	CLEANUP(listener_unrefp) struct listener *l = NULL;
	AUTO_CLOSE int owned = fd;
	struct sockaddr_storage sa = {0};
	socklen_t len = sizeof(sa);
	int flags = fcntl(fd, F_GETFD);

	if (flags < 0) {
		TAKE_FD(owned);
		return err_set(e, EBADF, "descriptor %d is not open; whoever starts preforkd "
		    "must pass a listening socket there", fd);
	}
	if (get_option(fd, SO_TYPE) == -ENOTSOCK)
		return err_set(e, ENOTSOCK, "descriptor %d is no socket", fd);
	if (get_option(fd, SO_TYPE) != SOCK_STREAM || get_option(fd, SO_ACCEPTCONN) != 1)
		return err_set(e, EINVAL, "descriptor %d is no listening stream socket", fd);
	if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
		return err_sys(e, errno, "descriptor %d", fd);
	if (sa.ss_family != AF_INET && sa.ss_family != AF_INET6 && sa.ss_family != AF_UNIX)
		return err_set(e, EAFNOSUPPORT, "descriptor %d is neither a TCP nor a unix socket",
		    fd);
	if (fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0)
		return err_sys(e, errno, "descriptor %d", fd);
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return err_sys(e, errno, "descriptor %d", fd);
	/* better without than not at all */
	if (sa.ss_family != AF_UNIX)
		(void)set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	l = calloc(1, sizeof(*l));
	if (!l)
		return err_sys(e, ENOMEM, "descriptor %d", fd);
	l->fd = TAKE_FD(owned);
	l->refs = 1;
	address_from_sockaddr((const struct sockaddr *)&sa, len, &l->address);
	if (name) {
		l->name = strdup(name);
		if (!l->name)
			return err_sys(e, ENOMEM, "descriptor %d", fd);
	}
	*ret = TAKE_PTR(l);
	return 0;
}

int
listen_inherited(char ***ret_names)
{
	char **names = NULL;
	int n = sd_listen_fds_with_names(1, &names);

	if (n >= 0 && ret_names) {
		*ret_names = names;
		return n;
	}
	for (char **s = names; s && *s; s++)
		free(*s);
	free(names);
	return n;
}

struct listener *
listener_ref(struct listener *l)
{
	l->refs++;
	return l;
}

void
listener_unlink(struct listener *l)
{
	struct stat st;

	if (l->is_ours && l->ino != 0 && lstat(unix_path(&l->address), &st) == 0 &&
	    st.st_dev == l->dev && st.st_ino == l->ino)
		unlink(unix_path(&l->address));
	l->ino = 0;
}

void
listener_unref(struct listener *l)
{
	if (!l || --l->refs > 0)
		return;
	lanes_free(l);
	listener_unlink(l);
	base_close_p(&l->fd);
	free(l->name);
	free(l);
}
