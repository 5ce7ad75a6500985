/*
 * channel.h - datagrams to and from workers.
 *
 * One SOCK_SEQPACKET socketpair per worker; and for plain commands one datagram socket
 * each that plays systemd's NOTIFY_SOCKET. Descriptors that a peer attaches are closed
 * unseen, unless one is asked for. Nothing here blocks or logs.
 */
#ifndef PREFORKD_CHANNEL_H
#define PREFORKD_CHANNEL_H

#include "base/base.h"

/* *ret_ours is non-blocking, *ret_child is for the worker; both CLOEXEC. */
int channel_pair(int *ret_ours, int *ret_child);

#define NOTIFY_NAME_MAX 80

/* An abstract datagram socket; name gets its address as NOTIFY_SOCKET spells it ("@..."). */
int channel_notify_open(pid_t master, uint64_t serial, char name[NOTIFY_NAME_MAX]);

/* The kernel says with each datagram that comes in on fd who sent it, or does not any more
 * (SO_PASSCRED, unix(7)). 0 or negative errno. */
int channel_name_senders(int fd, bool on);

/* Who sent a datagram, where the kernel says: on notify sockets, and where asked for. */
struct channel_sender {
	pid_t pid;	/* 0: unknown */
	uid_t uid;
};

/* One datagram: its length (0 is possible), -EAGAIN: none waits, -EPIPE: the other end is
 * closed, -EMSGSIZE: longer than size (it is gone), or another negative errno.
 * sender may be NULL. */
ssize_t channel_recv(int fd, char *data, size_t size, struct channel_sender *sender);
/* The same; the first descriptor that came along is the caller's, *ret_fd is -1 without one. It
 * may be anything. */
ssize_t channel_recv_fd(int fd, char *data, size_t size, struct channel_sender *sender,
    int *ret_fd);

#define CHANNEL_FDS_MAX 128	/* descriptors with one datagram */

/* Sends one datagram, with copies of n descriptors. 0 or negative errno. */
int channel_send_fds(int fd, const char *data, size_t len, const int *fds, size_t n);
/* The same, with one when it is >= 0. */
int channel_send(int fd, const char *data, size_t len, int pass_fd);

#endif
