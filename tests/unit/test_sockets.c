/*
 * test_sockets.c - addresses, and the difference of two lists of them.
 */
#include "base/buf.h"
#include "model/sockets.h"

#include "run_case.h"

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

#define NAME_50 "12345678901234567890123456789012345678901234567890"

START_TEST(legal_addresses)
{
	static const struct { const char *text, *want; enum address_kind kind; } rows[] = {
		{ "127.0.0.1:8000", "127.0.0.1:8000", ADDRESS_TCP },
		{ ":80", "0.0.0.0:80", ADDRESS_TCP },
		{ "0.0.0.0:0", "0.0.0.0:0", ADDRESS_TCP },
		{ "localhost:8000", "127.0.0.1:8000", ADDRESS_TCP },
		{ "10.0.0.1:065535", "10.0.0.1:65535", ADDRESS_TCP },
		{ "[::1]:80", "[::1]:80", ADDRESS_TCP },
		{ "[0:0:0:0:0:0:0:0]:80", "[::]:80", ADDRESS_TCP },
		{ "[FE80::1]:1", "[fe80::1]:1", ADDRESS_TCP },
		{ "unix:/run/x.sock", "unix:/run/x.sock", ADDRESS_UNIX },
		{ "unix:///run/x.sock", "unix:/run/x.sock", ADDRESS_UNIX },
		{ "unix:x.sock", "unix:/base/x.sock", ADDRESS_UNIX },
		{ "unix:./x.sock", "unix:/base/x.sock", ADDRESS_UNIX },
		{ "unix:@app", "unix:@app", ADDRESS_UNIX },
		{ "unix:@" NAME_50 NAME_50 "123456", "unix:@" NAME_50 NAME_50 "123456",
		  ADDRESS_UNIX },
		{ "unix:/" NAME_50 NAME_50 "123456", "unix:/" NAME_50 NAME_50 "123456",
		  ADDRESS_UNIX },
		{ "systemd", "systemd", ADDRESS_SYSTEMD },
		{ "fd:3", "fd:3", ADDRESS_FD },
		{ "fd:0010", "fd:10", ADDRESS_FD },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct address a, again;
		struct err e = {0};

		ck_assert_msg(address_parse(rows[i].text, "/base", &a, &e) == 0, "%s: %s",
		    rows[i].text, e.text);
		ck_assert_str_eq(a.text, rows[i].want);
		ck_assert_msg(a.kind == rows[i].kind, "%s", rows[i].text);
		ck_assert_int_eq(address_parse(a.text, NULL, &again, &e), 0);
		ck_assert(address_equal(&a, &again));
		ck_assert_msg(a.sa_len == again.sa_len && memcmp(&a.sa, &again.sa, a.sa_len) == 0,
		    "%s", rows[i].text);
		if (a.sa_len > 0) {
			struct address named;

			address_from_sockaddr((const void *)&a.sa, a.sa_len, &named);
			ck_assert_msg(address_equal(&a, &named), "%s: %s", rows[i].text,
			    named.text);
		}
	}
}
END_TEST

START_TEST(illegal_addresses)
{
	static const struct { const char *text, *error; } rows[] = {
		{ "", "empty" }, { "8000", "':8000'" }, { "127.0.0.1", "not an address" },
		{ "127.0.0.1:", "port number" }, { "127.0.0.1:65536", "port number" },
		{ "127.0.0.1:99999999999999999999", "port number" },
		{ "127.0.0.1:80x", "port number" },
		{ "127.0.0.1:-1", "port number" }, { "127.0.0.1: 80", "port number" },
		{ "example.com:80", "not looked up" }, { "127.0.0.256:80", "not looked up" },
		{ "127.1:80", "not looked up" }, { "*:80", "':PORT'" }, { "::1:80", "brackets" },
		{ "[::1]", "port" }, { "[::g]:80", "no IPv6 address" }, { "[::1%lo]:80", "zones" },
		{ "[127.0.0.1]:80", "no IPv6 address" }, { "[]:80", "no IPv6 address" },
		{ "[:80", "not" }, { "]:80", "not" },
		{ NAME_50 NAME_50 ":80", "not a numeric" },
		{ "unix:", "no path" }, { "unix:@", "no path" }, { "unix:/run/", "folder" },
		{ "unix:/" NAME_50 NAME_50 "1234567", "too long" },
		{ "unix:@" NAME_50 NAME_50 "1234567", "too long" },
		{ "unix:" NAME_50 NAME_50 "12", "too long" },
		{ "/run/x.sock", "unix:PATH" }, { "http://127.0.0.1:80", "URL" },
		{ "fd://3", "fd:N" }, { "fd:2", "from 3 up" }, { "fd:", "from 3 up" },
		{ "fd:x", "from 3 up" }, { "fd:-1", "from 3 up" }, { "fd:99999999", "from 3 up" },
		{ "Systemd", "not an address" }, { "systemd:80", "not looked up" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct address a = { .fd = 4711 };
		struct err e = {0};

		ck_assert_msg(address_parse(rows[i].text, "/base", &a, &e) == -EINVAL, "%s",
		    rows[i].text);
		ck_assert_msg(strstr(e.text, rows[i].error) != NULL, "%s: %s", rows[i].text,
		    e.text);
		ck_assert_msg(a.fd == 4711, "%s: written on failure", rows[i].text);
	}
}
END_TEST

START_TEST(contents_of_sockaddr)
{
	struct address a;
	const struct sockaddr_in *in = (const void *)&a.sa;
	const struct sockaddr_in6 *in6 = (const void *)&a.sa;
	const struct sockaddr_un *un = (const void *)&a.sa;

	ck_assert_int_eq(address_parse("localhost:8000", "/", &a, NULL), 0);
	ck_assert_int_eq(in->sin_family, AF_INET);
	ck_assert_uint_eq(ntohs(in->sin_port), 8000);
	ck_assert_uint_eq(ntohl(in->sin_addr.s_addr), INADDR_LOOPBACK);
	ck_assert_int_eq(address_parse("[::1]:81", "/", &a, NULL), 0);
	ck_assert_int_eq(in6->sin6_family, AF_INET6);
	ck_assert_uint_eq(ntohs(in6->sin6_port), 81);
	ck_assert_uint_eq(a.sa_len, sizeof(*in6));
	ck_assert_int_eq(address_parse("unix:@ab", "/", &a, NULL), 0);
	ck_assert_mem_eq(un->sun_path, "\0ab", 3);
	ck_assert_uint_eq(a.sa_len, offsetof(struct sockaddr_un, sun_path) + 3);
	ck_assert_int_eq(address_parse("unix:a", "/", &a, NULL), 0);
	ck_assert_str_eq(un->sun_path, "/a");
}
END_TEST

START_TEST(names_from_the_kernel)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr other = { .sa_family = AF_NETLINK };
	struct address a;

	/* an unnamed socket, a path without NUL, an abstract name of any bytes */
	address_from_sockaddr((const void *)&un, sizeof(sa_family_t), &a);
	ck_assert_str_eq(a.text, "unix:");
	memset(un.sun_path, 'x', sizeof(un.sun_path));
	address_from_sockaddr((const void *)&un, sizeof(un), &a);
	ck_assert_uint_ge(strlen(a.text), 5 + sizeof(un.sun_path) - 1);
	memcpy(un.sun_path, "\0a\0b\n", 5);
	address_from_sockaddr((const void *)&un, offsetof(struct sockaddr_un, sun_path) + 5, &a);
	ck_assert_str_eq(a.text, "unix:@a?b?");
	address_from_sockaddr((const void *)&in, 4, &a);
	ck_assert_str_eq(a.text, "unknown");
	address_from_sockaddr(&other, sizeof(other), &a);
	ck_assert_str_eq(a.text, "unknown");
	address_from_sockaddr(&other, 0, &a);
	ck_assert_str_eq(a.text, "unknown");
}
END_TEST

static size_t
parse_all(const char *const *texts, struct address *a)
{
	size_t n = 0;

	for (; texts[n]; n++)
		ck_assert_int_eq(address_parse(texts[n], "/", &a[n], NULL), 0);
	return n;
}

START_TEST(differences)
{
	static const struct {
		const char *label, *old[4], *new_[4], *keep, *removed;
	} rows[] = {
		{ "same", { ":1", ":2" }, { ":1", ":2" }, "0 1 ", "" },
		{ "order", { ":1", ":2" }, { ":2", ":1" }, "1 0 ", "" },
		{ "add", { ":1" }, { ":2", ":1" }, "-1 0 ", "" },
		{ "remove", { ":1", ":2", ":3" }, { ":2" }, "1 ", "0 2 " },
		{ "spelling", { "localhost:1" }, { "127.0.0.1:1" }, "0 ", "" },
		{ "host", { "127.0.0.1:1" }, { ":1" }, "-1 ", "0 " },
		{ "twice", { ":1" }, { ":1", ":1" }, "0 -1 ", "" },
		{ "kinds", { "systemd", "fd:3" }, { "fd:3", "unix:/x" }, "1 -1 ", "0 " },
		{ "nothing", { NULL }, { ":1" }, "-1 ", "" },
		{ "all gone", { ":1" }, { NULL }, "", "0 " },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct address old[4], new_[4];
		size_t n_old = parse_all(rows[i].old, old), n_new = parse_all(rows[i].new_, new_);
		int keep[4];
		bool removed[4];
		struct buf got_keep AUTO_BUF = BUF_INIT(80), got_removed AUTO_BUF = BUF_INIT(80);

		sockets_diff(old, n_old, new_, n_new, keep, removed);
		for (size_t j = 0; j < n_new; j++)
			buf_printf(&got_keep, "%d ", keep[j]);
		for (size_t j = 0; j < n_old; j++)
			if (removed[j])
				buf_printf(&got_removed, "%zu ", j);
		buf_puts(&got_keep, "");
		buf_puts(&got_removed, "");
		ck_assert_msg(strcmp(got_keep.data, rows[i].keep) == 0, "%s: %s", rows[i].label,
		    got_keep.data);
		ck_assert_msg(strcmp(got_removed.data, rows[i].removed) == 0, "%s: %s",
		    rows[i].label, got_removed.data);
	}
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("core");

	tcase_add_test(tc, legal_addresses);
	tcase_add_test(tc, illegal_addresses);
	tcase_add_test(tc, contents_of_sockaddr);
	tcase_add_test(tc, names_from_the_kernel);
	tcase_add_test(tc, differences);
	return run_case("sockets", tc);
}
