/*
 * sockets.c - addresses as text and as struct sockaddr, and their differences.
 *
 * No name service and no system call: hosts are numbers, "localhost" excepted.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/sockets.h"

#include "model/values.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

enum {
	FIRST_FD = 3,		/* below are the standard streams */
	LAST_FD = 1 << 20,
	UNIX_NAME_MAX = sizeof(((struct sockaddr_un *)0)->sun_path) - 1,
};

static int
complain(struct err *e, const char *text, const char *what)
{
	char quoted[VALUE_QUOTE_MAX];

	return err_set(e, EINVAL, "%s %s", value_quote(text, quoted, sizeof(quoted)), what);
}

/* The canonical text of a TCP address. */
static void
print_tcp(struct address *a)
{
	char host[INET6_ADDRSTRLEN] = "?";

	if (a->sa.ss_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)&a->sa;

		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(a->text, sizeof(a->text), "%s:%u", host, ntohs(in->sin_port));
	} else {
		const struct sockaddr_in6 *in6 = (const void *)&a->sa;

		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(a->text, sizeof(a->text), "[%s]:%u", host, ntohs(in6->sin6_port));
	}
}

/* A decimal number with nothing around it; -1 when it is not one or above max. */
static int
parse_small(const char *text, int max)
{
	int v = 0;

	if (*text == '\0')
		return -1;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		v = v * 10 + (*text - '0');
		if (v > max)
			return -1;
	}
	return v;
}

static int
parse_tcp(const char *text, struct address *a, struct err *e)
{
	struct sockaddr_in *in = (void *)&a->sa;
	struct sockaddr_in6 *in6 = (void *)&a->sa;
	const char *colon = strrchr(text, ':');
	char host[INET6_ADDRSTRLEN + 2];
	size_t host_len;
	int port;

	a->kind = ADDRESS_TCP;
	if (!colon) {
		if (parse_small(text, 65535) >= 0)
			return complain(e, text, "is a bare number; a port is written ':8000' (and"
			    " the queue that uWSGI calls listen is 'backlog')");
		return complain(e, text, "is not an address: write HOST:PORT, :PORT, [IPv6]:PORT,"
		    " unix:PATH, systemd or fd:N");
	}
	port = parse_small(colon + 1, 65535);
	if (port < 0)
		return complain(e, text, "has no port number from 0 to 65535 after its last ':'");
	host_len = (size_t)(colon - text);
	if (host_len >= sizeof(host))
		return complain(e, text, "has a host that is not a numeric address");
	memcpy(host, text, host_len);
	host[host_len] = '\0';

	if (host[0] == '[' && host[host_len - 1] == ']') {
		host[host_len - 1] = '\0';
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons((uint16_t)port);
		a->sa_len = sizeof(*in6);
		if (inet_pton(AF_INET6, host + 1, &in6->sin6_addr) != 1)
			return complain(e, text, "has no IPv6 address between its brackets (zones"
			    " such as %eth0 are not supported)");
	} else {
		if (strchr(host, ':'))
			return complain(e, text,
			    "looks like IPv6: write the host in brackets, as in"
			    " [::1]:8000");
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)port);
		a->sa_len = sizeof(*in);
		if (host_len == 0)
			in->sin_addr.s_addr = htonl(INADDR_ANY);
		else if (strcmp(host, "localhost") == 0)
			in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		else if (inet_pton(AF_INET, host, &in->sin_addr) != 1)
			return complain(e, text, strcmp(host, "*") == 0
			    ? "has the host '*'; for all addresses write ':PORT'"
			    : "has a host that is not a numeric address (names are not looked up)");
	}
	print_tcp(a);
	return 0;
}

static void
print_unix(struct address *a, const char *name, size_t len, bool is_abstract)
{
	char shown[UNIX_NAME_MAX + 1];

	len = MIN_OF(len, sizeof(shown) - 1);
	for (size_t i = 0; i < len; i++)
		shown[i] = (unsigned char)name[i] < 0x20 || name[i] == 0x7f ? '?' : name[i];
	shown[len] = '\0';
	snprintf(a->text, sizeof(a->text), "unix:%s%s", is_abstract ? "@" : "", shown);
}

/* Joins a relative path to base_dir. -EINVAL: too long for a socket. */
static int
unix_path(const char *path, const char *base_dir, char *dst, size_t dst_len)
{
	bool is_relative = *path != '/' && base_dir;
	int n;

	while (is_relative && path[0] == '.' && path[1] == '/')
		path += 2 + strspn(path + 2, "/");
	n = snprintf(dst, dst_len, "%s%s%s", is_relative ? base_dir : "",
	    is_relative && strcmp(base_dir, "/") != 0 ? "/" : "", path);
	return n < 0 || (size_t)n >= dst_len ? -EINVAL : 0;
}

static int
parse_unix(const char *text, const char *base_dir, struct address *a, struct err *e)
{
	struct sockaddr_un *un = (void *)&a->sa;
	const char *name = text + strlen("unix:");
	bool is_abstract = name[0] == '@';
	char path[UNIX_NAME_MAX + 1];
	size_t len;

	a->kind = ADDRESS_UNIX;
	un->sun_family = AF_UNIX;
	if (is_abstract)
		name++;
	else
		/* unix:///run/x, as in an URL */
		while (name[0] == '/' && name[1] == '/')
			name++;
	len = strlen(name);
	if (len == 0)
		return complain(e, text, "has no path after 'unix:'");
	if (is_abstract ? len >= UNIX_NAME_MAX :
	    unix_path(name, base_dir, path, sizeof(path)) < 0) {
		char quoted[VALUE_QUOTE_MAX];

		return err_set(e, EINVAL, "%s is too long: the kernel allows %d characters, folder"
		    " included", value_quote(text, quoted, sizeof(quoted)), UNIX_NAME_MAX);
	}
	if (is_abstract) {
		memcpy(un->sun_path + 1, name, len);
		a->sa_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len);
		print_unix(a, name, len, true);
		return 0;
	}
	len = strlen(path);
	if (path[len - 1] == '/')
		return complain(e, text, "is a folder; the path of a socket is wanted");
	memcpy(un->sun_path, path, len + 1);
	a->sa_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
	print_unix(a, path, len, false);
	return 0;
}

static int
parse_fd(const char *text, struct address *a, struct err *e)
{
	int fd = parse_small(text + strlen("fd:"), LAST_FD);

	a->kind = ADDRESS_FD;
	if (strncmp(text, "fd://", 5) == 0)
		return complain(e, text, "is written fd:N here");
	if (fd < FIRST_FD)
		return complain(e, text, "is not an inherited descriptor: a number from 3 up is"
		    " wanted after 'fd:'");
	a->fd = fd;
	snprintf(a->text, sizeof(a->text), "fd:%d", fd);
	return 0;
}

int
address_parse(const char *text, const char *base_dir, struct address *ret, struct err *e)
{
	struct address a = { .fd = -1 };
	int r = 0;

	if (*text == '\0')
		return err_set(e, EINVAL, "an address is empty");
	if (strcmp(text, "systemd") == 0) {
		a.kind = ADDRESS_SYSTEMD;
		snprintf(a.text, sizeof(a.text), "systemd");
	} else if (strncmp(text, "unix:", 5) == 0) {
		r = parse_unix(text, base_dir, &a, e);
	} else if (strncmp(text, "fd:", 3) == 0) {
		r = parse_fd(text, &a, e);
	} else if (strstr(text, "://")) {
		r = complain(e, text, "is an URL; write HOST:PORT (TLS is set in [server])");
	} else if (strchr(text, '/')) {
		r = complain(e, text, "looks like a path: a unix socket is written unix:PATH");
	} else {
		r = parse_tcp(text, &a, e);
	}
	if (r == 0)
		*ret = a;
	return r;
}

void
address_from_sockaddr(const struct sockaddr *sa, socklen_t len, struct address *ret)
{
	struct address a = { .fd = -1, .kind = ADDRESS_TCP };
	const size_t name_at = offsetof(struct sockaddr_un, sun_path);

	a.sa_len = MIN_OF(len, (socklen_t)sizeof(a.sa));
	memcpy(&a.sa, sa, a.sa_len);
	snprintf(a.text, sizeof(a.text), "unknown");
	if (a.sa_len < sizeof(sa_family_t)) {
		a.sa_len = 0;
	} else if ((a.sa.ss_family == AF_INET && a.sa_len >= sizeof(struct sockaddr_in)) ||
	    (a.sa.ss_family == AF_INET6 && a.sa_len >= sizeof(struct sockaddr_in6))) {
		print_tcp(&a);
	} else if (a.sa.ss_family == AF_UNIX) {
		const struct sockaddr_un *un = (const void *)&a.sa;
		size_t n = a.sa_len > name_at ? a.sa_len - name_at : 0;

		a.kind = ADDRESS_UNIX;
		if (n > 0 && un->sun_path[0] == '\0')
			print_unix(&a, un->sun_path + 1, n - 1, true);
		else
			print_unix(&a, un->sun_path, strnlen(un->sun_path, n), false);
	}
	*ret = a;
}

bool
address_is_loopback(const struct address *a)
{
	const struct sockaddr_in *in = (const void *)&a->sa;
	const struct sockaddr_in6 *in6 = (const void *)&a->sa;

	if (a->sa.ss_family == AF_INET)
		return ntohl(in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	return a->sa.ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

bool
address_equal(const struct address *a, const struct address *b)
{
	return a->kind == b->kind && strcmp(a->text, b->text) == 0;
}

void
sockets_diff(const struct address *old, size_t n_old, const struct address *new_,
    size_t n_new, int *keep, bool *ret_removed)
{
	for (size_t i = 0; i < n_old; i++)
		ret_removed[i] = true;
	for (size_t i = 0; i < n_new; i++) {
		keep[i] = -1;
		/* Each old one is kept once, should a list name it twice. */
		for (size_t j = 0; j < n_old && keep[i] < 0; j++) {
			if (!ret_removed[j] || !address_equal(&old[j], &new_[i]))
				continue;
			keep[i] = (int)j;
			ret_removed[j] = false;
		}
	}
}

/* The port, network order; 0 for what has none. */
static in_port_t
port_of(const struct address *a)
{
	if (a->kind != ADDRESS_TCP)
		return 0;
	if (a->sa.ss_family == AF_INET6)
		return ((const struct sockaddr_in6 *)&a->sa)->sin6_port;
	return ((const struct sockaddr_in *)&a->sa)->sin_port;
}

static bool
is_wildcard(const struct address *a)
{
	if (a->sa.ss_family == AF_INET6)
		return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)&a->sa)->sin6_addr);
	return ((const struct sockaddr_in *)&a->sa)->sin_addr.s_addr == 0;
}

bool
address_overlaps(const struct address *a, const struct address *b)
{
	in_port_t port = port_of(a);

	return port != 0 && port == port_of(b) && (is_wildcard(a) || is_wildcard(b));
}
