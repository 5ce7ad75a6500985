/*
 * test_listen.c - opening addresses, and what is said when that fails.
 */
#include "listen_open.h"
#include "run_case.h"

START_TEST(open_and_accept)
{
	struct listener *l;
	int server;

	if (places[_i][0] == '[' && !have_ipv6())
		return;
	l = open_at(places[_i]);
	ck_assert_uint_eq(l->refs, 1);
	ck_assert(l->is_ours);
	ck_assert_int_eq(fcntl(l->fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(fcntl(l->fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	server = accept_one(l);
	if (l->address.kind == ADDRESS_TCP) {
		ck_assert_int_ne(option(l->fd, SOL_SOCKET, SO_REUSEADDR), 0);
		ck_assert_int_ne(option(server, IPPROTO_TCP, TCP_NODELAY), 0);
		ck_assert_msg(strcmp(strrchr(l->address.text, ':'), ":0") != 0, "%s",
		    l->address.text);
	}
	close(server);
	/* the last reference closes */
	ck_assert_ptr_eq(listener_ref(l), l);
	listener_unref(l);
	close(accept_one(l));
	listener_unref(l);
	listener_unref(NULL);
}
END_TEST

START_TEST(both_families)
{
	struct listener *l;
	struct sockaddr_in sa = { .sin_family = AF_INET };
	int fd;

	if (!have_ipv6())
		return;
	l = open_at("[::]:0");
	sa.sin_port = ((struct sockaddr_in6 *)(void *)&l->address.sa)->sin6_port;
	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	close(fd);
	listener_unref(l);
}
END_TEST

START_TEST(port_in_use)
{
	struct listener *l = open_at("127.0.0.1:0");
	char text[160], port[32];

	snprintf(text, sizeof(text), "%s", l->address.text);
	snprintf(port, sizeof(port), "sport = %s", strrchr(text, ':'));
	ck_assert_int_eq(try_open(text), -EADDRINUSE);
	ck_assert_int_eq(e.code, EADDRINUSE);
	ck_assert_msg(strstr(e.text, text) != NULL, "no address: %s", e.text);
	ck_assert_msg(strstr(e.text, port) != NULL, "no advice: %s", e.text);
	ck_assert_msg(strstr(e.text, "listen =") != NULL, "no advice: %s", e.text);
	listener_unref(l);
	ck_assert_int_eq(try_open(text), 0);
}
END_TEST

/* Connections in TIME_WAIT do not keep a restarted master from its port. */
START_TEST(port_used_just_now)
{
	struct listener *l = open_at("127.0.0.1:0");
	char text[160];
	int server;

	snprintf(text, sizeof(text), "%s", l->address.text);
	server = accept_one(l);
	shutdown(server, SHUT_RDWR);
	close(server);
	listener_unref(l);
	ck_assert_msg(try_open(text) == 0, "%s", e.text);
}
END_TEST

START_TEST(refused_by_the_kernel)
{
	ck_assert_int_eq(try_open("192.0.2.1:8000"), -EADDRNOTAVAIL);
	ck_assert_msg(strstr(e.text, "192.0.2.1:8000: this machine has no such address") != NULL,
	    "%s", e.text);
	ck_assert_int_eq(try_open("unix:no/such/folder/sock"), -ENOENT);
	ck_assert_msg(strstr(e.text, "folder does not exist") != NULL, "%s", e.text);
	if (geteuid() == 0) {
		ck_assert_int_eq(seteuid(65534), 0);
		ck_assert_int_eq(try_open("unix:sock"), -EACCES);
		ck_assert_msg(strstr(e.text, "no permission") != NULL, "%s", e.text);
		/* in a container all ports may be free for everybody */
		int r = try_open("127.0.0.1:79");

		if (r < 0) {
			ck_assert_int_eq(r, -EACCES);
			ck_assert_msg(strstr(e.text, "CAP_NET_BIND_SERVICE") != NULL, "%s",
			    e.text);
		}
		ck_assert_int_eq(seteuid(0), 0);
	}
}
END_TEST

START_TEST(no_address)
{
	struct address a = { .kind = ADDRESS_SYSTEMD, .text = "systemd" };
	struct listener *l = NULL;

	ck_assert_int_eq(listener_open(&a, &options, &l, &e), -EINVAL);
	a.kind = ADDRESS_FD;
	ck_assert_int_eq(listener_open(&a, &options, &l, NULL), -EINVAL);
}
END_TEST

static void
path_of(const char *name, char *dst, size_t size)
{
	snprintf(dst, size, "%s/%s", dir, name);
}

static bool
is_there(const char *name)
{
	char path[128];
	struct stat st;

	path_of(name, path, sizeof(path));
	return lstat(path, &st) == 0;
}

START_TEST(unix_file)
{
	struct listener *l;
	struct stat st;
	char path[128];

	path_of("sock", path, sizeof(path));
	umask(022);
	l = open_at("unix:sock");
	ck_assert_int_eq(lstat(path, &st), 0);
	ck_assert(S_ISSOCK(st.st_mode));
	ck_assert_uint_eq(st.st_mode & 07777, 0660);
	ck_assert_uint_eq(umask(022), 022);
	/* in use */
	ck_assert_int_eq(try_open("unix:sock"), -EADDRINUSE);
	ck_assert_msg(strstr(e.text, path) != NULL, "%s", e.text);
	ck_assert(is_there("sock"));
	close(accept_one(l));
	listener_unref(l);
	ck_assert_msg(!is_there("sock"), "our own file was left");
}
END_TEST

START_TEST(unix_owner)
{
	struct listen_options o = options;
	struct address a = parse("unix:sock");
	struct listener *l = NULL;
	struct stat st;
	char path[128];

	if (geteuid() != 0)
		return;
	path_of("sock", path, sizeof(path));
	o.uid = 12;
	o.gid = 34;
	ck_assert_int_eq(listener_open(&a, &o, &l, &e), 0);
	ck_assert_int_eq(lstat(path, &st), 0);
	ck_assert_uint_eq(st.st_uid, 12);
	ck_assert_uint_eq(st.st_gid, 34);
	listener_unref(l);
	/* what fails after the file was made leaves none */
	ck_assert_int_eq(chmod(dir, 0777), 0);
	ck_assert_int_eq(seteuid(65534), 0);
	ck_assert_int_eq(listener_open(&a, &o, &l, &e), -EPERM);
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert(!is_there("sock"));
}
END_TEST

/* Leaves the file of a socket that is bound and, with listening, has listened. */
static int
leave_socket(const char *name, int type, bool keep_open)
{
	struct address a;
	char text[64];
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	snprintf(text, sizeof(text), "unix:%s", name);
	a = parse(text);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&a.sa, a.sa_len), 0);
	if (type == SOCK_STREAM)
		ck_assert_int_eq(listen(fd, 0), 0);
	if (keep_open)
		return fd;
	close(fd);
	return -1;
}

START_TEST(stale_sockets)
{
	struct listener *l;
	char path[128];
	int fd, filler;

	leave_socket("sock", SOCK_STREAM, false);
	ck_assert(is_there("sock"));
	l = open_at("unix:sock");
	close(accept_one(l));
	listener_unref(l);

	/* a live one whose queue is full */
	fd = leave_socket("full", SOCK_STREAM, true);
	struct address a = parse("unix:full");

	for (int i = 0; i < 3; i++) {
		filler = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		if (connect(filler, (struct sockaddr *)&a.sa, a.sa_len) < 0)
			break;
	}
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_int_eq(try_open("unix:full"), -EADDRINUSE);
	ck_assert(is_there("full"));
	close(fd);

	/* of another type, and in use */
	fd = leave_socket("dgram", SOCK_DGRAM, true);
	ck_assert_int_eq(try_open("unix:dgram"), -EADDRINUSE);
	close(fd);
	ck_assert_int_eq(try_open("unix:dgram"), 0);

	/* no socket at all */
	path_of("file", path, sizeof(path));
	close(open(path, O_CREAT | O_WRONLY, 0600));
	ck_assert_int_eq(try_open("unix:file"), -EADDRINUSE);
	ck_assert_msg(strstr(e.text, "no socket") != NULL, "%s", e.text);
	ck_assert(is_there("file"));
}
END_TEST

/* A file that somebody else put there meanwhile is not ours to remove. */
START_TEST(replaced_file)
{
	struct listener *l = open_at("unix:sock");
	char path[128];
	int fd;

	path_of("sock", path, sizeof(path));
	ck_assert_int_eq(unlink(path), 0);
	fd = leave_socket("sock", SOCK_STREAM, true);
	listener_unref(l);
	ck_assert_msg(is_there("sock"), "somebody else's file was removed");
	close(fd);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("all");

	tcase_set_timeout(tc, 30);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, open_and_accept, 0, 6);
	tcase_add_test(tc, both_families);
	tcase_add_test(tc, port_in_use);
	tcase_add_test(tc, port_used_just_now);
	tcase_add_test(tc, refused_by_the_kernel);
	tcase_add_test(tc, no_address);
	tcase_add_test(tc, unix_file);
	tcase_add_test(tc, unix_owner);
	tcase_add_test(tc, stale_sockets);
	tcase_add_test(tc, replaced_file);
	return run_case("listen", tc);
}
