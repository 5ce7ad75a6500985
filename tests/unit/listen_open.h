/*
 * listen_open.h - a folder and listening sockets for one test.
 */
#ifndef PREFORKD_TEST_LISTEN_OPEN_H
#define PREFORKD_TEST_LISTEN_OPEN_H

#include "system/listen.h"

#include "own_files.h"

#include <check.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static char dir[OWN_PATH_MAX];
static struct err e;
static const struct listen_options options = {
	.backlog = 100, .mode = 0660, .uid = (uid_t)-1, .gid = (gid_t)-1,
};

static inline void
setup(void)
{
	own_folder(dir);
}

static inline void
teardown(void)
{
	own_folder_remove(dir);
}

static inline struct address
parse(const char *text)
{
	struct address a;

	ck_assert_msg(address_parse(text, dir, &a, &e) == 0, "%s: %s", text, e.text);
	return a;
}

static inline struct listener *
open_at(const char *text)
{
	struct address a = parse(text);
	struct listener *l = NULL;

	ck_assert_msg(listener_open(&a, &options, &l, &e) == 0, "%s", e.text);
	ck_assert_ptr_nonnull(l);
	return l;
}

static inline int
try_open(const char *text)
{
	struct address a = parse(text);
	struct listener *l = NULL;
	int r;

	e = (struct err){0};
	r = listener_open(&a, &options, &l, &e);
	if (r == 0)
		listener_unref(l);
	else
		ck_assert_ptr_null(l);
	return r;
}

static inline int
option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	getsockopt(fd, level, name, &value, &len);
	return value;
}

/* A connection to the listener, or negative errno. */
static inline int
connect_to(const struct listener *l)
{
	int fd = socket(l->address.sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	if (connect(fd, (const struct sockaddr *)&l->address.sa, l->address.sa_len) == 0)
		return fd;
	int r = -errno;

	close(fd);
	return r;
}

/* The listener takes a connection; returns its server side. */
static inline int
accept_one(struct listener *l)
{
	struct pollfd p = { .fd = l->fd, .events = POLLIN };
	int client = connect_to(l), server;

	ck_assert_msg(client >= 0, "%s: %s", l->address.text, strerror(-client));
	ck_assert_int_eq(poll(&p, 1, 5000), 1);
	server = accept(l->fd, NULL, NULL);
	ck_assert_int_ge(server, 0);
	close(client);
	return server;
}

static inline bool
have_ipv6(void)
{
	struct sockaddr_in6 sa = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int fd = socket(AF_INET6, SOCK_STREAM, 0);
	bool have = fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0;

	if (fd >= 0)
		close(fd);
	return have;
}

static const char *const places[] UNUSED = {
	"127.0.0.1:0", "unix:sock", "unix:@test_listen", "[::1]:0", "[::]:0", ":0",
};

#endif
