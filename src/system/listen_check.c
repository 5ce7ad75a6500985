/*
 * listen_check.c - what workers did to a listening socket, and its queue.
 *
 * A TCP listener that was shut down can be revived with listen(2), after a new
 * bind(2) when the kernel had given its port away. A unix one cannot: a new
 * socket takes its place at its path. An abstract name is taken as long as
 * anybody has a copy.
 */
#include "system/listen.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>

static bool
is_tcp(const struct listener *l)
{
	return l->address.sa.ss_family == AF_INET || l->address.sa.ss_family == AF_INET6;
}

void
listener_shutdown(struct listener *l)
{
	/* fails only where it is shut down already */
	shutdown(l->fd, SHUT_RDWR);
}

static bool
is_accepting(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };
	int value = 0;
	socklen_t len = sizeof(value);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len) < 0 || value != 1)
		return false;
	/* a unix socket stays "listening", and says so only here */
	return poll(&p, 1, 0) <= 0 || !(p.revents & (POLLRDHUP | POLLHUP));
}

/* The name of the socket is still the one that it was opened with. */
static bool
is_bound(const struct listener *l)
{
	struct sockaddr_storage sa;
	struct address now;
	socklen_t len = sizeof(sa);

	if (getsockname(l->fd, (struct sockaddr *)&sa, &len) < 0)
		return false;
	address_from_sockaddr((const struct sockaddr *)&sa, len, &now);
	return address_equal(&now, &l->address);
}

static int
revive(struct listener *l, int backlog)
{
	const struct sockaddr *sa = (const struct sockaddr *)&l->address.sa;

	if (!is_tcp(l))
		return -ESHUTDOWN;
	/* EINVAL: the port is still ours. The name that getsockname tells does not show it. */
	if (bind(l->fd, sa, l->address.sa_len) < 0 && errno != EINVAL)
		return -errno;
	if (listen(l->fd, backlog) < 0)
		return -errno;
	return is_bound(l) && is_accepting(l->fd) ? 0 : -ESHUTDOWN;
}

int
listener_check(struct listener *l, int backlog, struct err *e)
{
	unsigned len, before = 0, after = 0;
	int flags = fcntl(l->fd, F_GETFL);
	int found = 0, r;

	if (flags < 0)
		return err_sys(e, errno, "the socket of %s is gone", l->address.text);
	if (!(flags & O_NONBLOCK)) {
		if (fcntl(l->fd, F_SETFL, flags | O_NONBLOCK) < 0)
			return err_sys(e, errno, "a worker made %s blocking", l->address.text);
		err_set(e, EBADFD, "a worker made %s blocking", l->address.text);
		found = 1;
	}
	if (!is_accepting(l->fd) && l->ino != 0) {
		r = listener_reopen(l, e);
		if (r < 0)
			return r;
		err_set(e, ESTALE, "a worker shut %s down", l->address.text);
		return 1;
	}
	if (!is_accepting(l->fd)) {
		r = revive(l, backlog);
		if (r < 0)
			return err_set(e, -r, "a worker shut %s down (%s), and it cannot be "
			    "revived", l->address.text, strerror(-r));
		err_set(e, ESHUTDOWN, "a worker shut %s down", l->address.text);
		return 1;
	}
	if (is_tcp(l))
		listener_queue(l, &len, &before);
	if (listen(l->fd, backlog) < 0)
		return err_sys(e, errno, "cannot listen on %s again", l->address.text);
	if (is_tcp(l) && listener_queue(l, &len, &after) == 0 && before != after) {
		err_set(e, EBADFD, "a worker changed the backlog of %s to %u", l->address.text,
		    before);
		found = 1;
	}
	return found;
}

bool
listener_has_waiting(const struct listener *l)
{
	struct pollfd p = { .fd = l->fd, .events = POLLIN };

	return poll(&p, 1, 0) > 0 && (p.revents & POLLIN) != 0;
}

int
listener_queue(const struct listener *l, unsigned *ret_len, unsigned *ret_backlog)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	if (!is_tcp(l))
		return -ENOTSUP;
	memset(&info, 0, sizeof(info));
	if (getsockopt(l->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return -errno;
	if (info.tcpi_state != TCP_LISTEN)
		return -EINVAL;
	/* for a listening socket these two count connections */
	*ret_len = info.tcpi_unacked;
	*ret_backlog = info.tcpi_sacked;
	return 0;
}
