/*
 * channel.c - see channel.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/channel.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>

int
channel_pair(int *ret_ours, int *ret_child)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	/* Only our end: the flag belongs to the open file, and each end has its own. */
	if (fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0) {
		int r = -errno;

		close(fds[0]);
		close(fds[1]);
		return r;
	}
	*ret_ours = fds[0];
	*ret_child = fds[1];
	return 0;
}

int
channel_notify_open(pid_t master, uint64_t serial, char name[NOTIFY_NAME_MAX])
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	AUTO_CLOSE int fd = -1;
	uint64_t random;
	int on = 1, n;

	if (getrandom(&random, sizeof random, GRND_NONBLOCK) != (ssize_t)sizeof random)
		random = serial;
	n = snprintf(name, NOTIFY_NAME_MAX, "@preforkd/%d/%llu/%016llx", (int)master,
	    (unsigned long long)serial, (unsigned long long)random);
	if (n < 0 || n >= NOTIFY_NAME_MAX)
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0)
		return -errno;
	memcpy(sa.sun_path + 1, name + 1, (size_t)n - 1);
	if (bind(fd, (struct sockaddr *)&sa,
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/* ret_fd: gets the first descriptor, NULL: it is closed as well. */
static void
take_control(struct msghdr *msg, struct channel_sender *sender, int *ret_fd)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_RIGHTS) {
			size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

			for (size_t i = 0; i < n; i++) {
				int fd;

				memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
				if (ret_fd != NULL && *ret_fd < 0)
					*ret_fd = fd;
				else
					close(fd);
			}
		} else if (c->cmsg_type == SCM_CREDENTIALS && sender != NULL) {
			struct ucred cred;

			memcpy(&cred, CMSG_DATA(c), sizeof cred);
			sender->pid = cred.pid;
			sender->uid = cred.uid;
		}
	}
}

/* recv() gives 0 for an empty datagram and for a closed peer alike. */
static bool
peer_closed(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLRDHUP)) != 0;
}

ssize_t
channel_recv(int fd, char *data, size_t size, struct channel_sender *sender)
{
	return channel_recv_fd(fd, data, size, sender, NULL);
}

ssize_t
channel_recv_fd(int fd, char *data, size_t size, struct channel_sender *sender, int *ret_fd)
{
	/* Room for the kernel's limit of 253 descriptors: a cut control message would be
	 * descriptors that stay open without anybody knowing them. */
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * 253) + CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct iovec iov = { .iov_base = data, .iov_len = size };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof control,
	};
	ssize_t n;

	if (sender != NULL)
		*sender = (struct channel_sender){ .uid = (uid_t)-1 };
	if (ret_fd != NULL)
		*ret_fd = -1;
	do {
		n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	take_control(&msg, sender, ret_fd);
	if ((msg.msg_flags & MSG_TRUNC) != 0)
		return -EMSGSIZE;
	if (n == 0 && peer_closed(fd))
		return -EPIPE;
	return n;
}

int
channel_name_senders(int fd, bool on)
{
	int value = on;

	return setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &value, sizeof value) < 0 ? -errno : 0;
}

int
channel_send_fds(int fd, const char *data, size_t len, const int *fds, size_t n)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * CHANNEL_FDS_MAX)];
	} control = {0};
	union { const char *in; void *out; } unconst = { .in = data };
	struct iovec iov = { .iov_base = unconst.out, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t r;

	if (n > CHANNEL_FDS_MAX)
		return -E2BIG;
	if (n > 0) {
		struct cmsghdr *c;

		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
	}
	do {
		r = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

int
channel_send(int fd, const char *data, size_t len, int pass_fd)
{
	return channel_send_fds(fd, data, len, &pass_fd, pass_fd >= 0);
}
