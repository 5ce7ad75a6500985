/*
 * test_listen_check.c - sockets made by others, and ours after a worker spoiled them.
 */
#include "listen_open.h"
#include "run_case.h"

#include <sys/wait.h>

START_TEST(adopted)
{
	struct listener *ours = open_at(places[_i]), *l = NULL;
	int fd = dup(ours->fd);

	ck_assert_int_eq(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK), 0);
	ck_assert_int_eq(listener_adopt(fd, _i ? "web" : NULL, &l, &e), 0);
	ck_assert_int_eq(l->fd, fd);
	ck_assert(!l->is_ours);
	ck_assert_uint_eq(l->refs, 1);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_str_eq(l->address.text, ours->address.text);
	if (_i)
		ck_assert_str_eq(l->name, "web");
	else
		ck_assert_ptr_null(l->name);
	close(accept_one(l));
	listener_unref(l);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
	/* the file belongs to whoever made it */
	close(accept_one(ours));
	listener_unref(ours);
}
END_TEST

START_TEST(not_to_be_adopted)
{
	struct listener *l = NULL;
	int sv[2], fd = 700;

	ck_assert_int_eq(listener_adopt(fd, NULL, &l, &e), -EBADF);
	ck_assert_msg(strstr(e.text, "700") != NULL, "%s", e.text);
	ck_assert_int_eq(listener_adopt(-1, NULL, &l, &e), -EBADF);
	fd = open("/dev/null", O_RDONLY);
	ck_assert_int_eq(listener_adopt(fd, NULL, &l, &e), -ENOTSOCK);
	ck_assert_msg(fcntl(fd, F_GETFD) < 0, "it was not closed");
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	ck_assert_int_eq(listener_adopt(sv[0], NULL, &l, &e), -EINVAL);
	ck_assert_int_eq(listener_adopt(socket(AF_INET, SOCK_STREAM, 0), NULL, &l, &e), -EINVAL);
	ck_assert_int_eq(listener_adopt(socket(AF_INET, SOCK_DGRAM, 0), NULL, &l, &e), -EINVAL);
	ck_assert_ptr_null(l);
	ck_assert_int_eq(fcntl(sv[0], F_GETFD), -1);
}
END_TEST

START_TEST(inherited)
{
	char pid[16], **names = NULL;
	struct listener *l = open_at("127.0.0.1:0");

	ck_assert_int_eq(listen_inherited(&names), 0);
	snprintf(pid, sizeof(pid), "%d", getpid());
	/* Check keeps descriptors of its own here, which are not needed any more in this child */
	ck_assert_int_ge(fcntl(3, F_GETFD) >= 0 ? 3 : dup2(l->fd, 3), 0);
	ck_assert_int_ge(fcntl(4, F_GETFD) >= 0 ? 4 : dup2(l->fd, 4), 0);
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "2", 1);
	setenv("LISTEN_FDNAMES", "web:admin", 1);
	ck_assert_int_eq(listen_inherited(&names), 2);
	ck_assert_str_eq(names[0], "web");
	ck_assert_str_eq(names[1], "admin");
	ck_assert_int_eq(fcntl(4, F_GETFD), FD_CLOEXEC);
	free(names[0]);
	free(names[1]);
	free(names);
	ck_assert_ptr_null(getenv("LISTEN_FDS"));
	ck_assert_ptr_null(getenv("LISTEN_PID"));
	ck_assert_ptr_null(getenv("LISTEN_FDNAMES"));
	/* meant for somebody else */
	setenv("LISTEN_PID", "1", 1);
	setenv("LISTEN_FDS", "2", 1);
	ck_assert_int_eq(listen_inherited(NULL), 0);
	ck_assert_ptr_null(getenv("LISTEN_FDS"));
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "x", 1);
	ck_assert_int_lt(listen_inherited(NULL), 0);
	ck_assert_ptr_null(getenv("LISTEN_FDS"));
	listener_unref(l);
}
END_TEST

/* What a worker with a copy does, in another process. */
static void
as_worker(const struct listener *l, void (*act)(int fd))
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		act(l->fd);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

static void
make_blocking(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
}

static void
shut_down(int fd)
{
	shutdown(fd, SHUT_RDWR);
}

static void
shrink(int fd)
{
	listen(fd, 5);
}

static void
spoil_all(int fd)
{
	make_blocking(fd);
	shrink(fd);
	shut_down(fd);
}

static void
nothing(int fd UNUSED)
{
}

START_TEST(check_and_repair)
{
	static const struct {
		const char *at;
		void (*act)(int fd);
		int want;
		const char *text;
	} cases[] = {
		{ "127.0.0.1:0", nothing, 0, "" },
		{ "unix:sock", nothing, 0, "" },
		{ "unix:@test_listen_check", nothing, 0, "" },
		{ "127.0.0.1:0", make_blocking, 1, "blocking" },
		{ "unix:sock", make_blocking, 1, "blocking" },
		{ "127.0.0.1:0", shrink, 1, "backlog" },
		{ "unix:sock", shrink, 0, "" },		/* put back, but not to be seen */
		{ "127.0.0.1:0", shut_down, 1, "shut 127.0.0.1:" },
		{ ":0", shut_down, 1, "shut 0.0.0.0:" },
		{ "[::1]:0", shut_down, 1, "shut [::1]:" },
		{ "127.0.0.1:0", spoil_all, 1, "shut 127.0.0.1:" },
		{ "unix:sock", shut_down, 1, "shut unix:" },
		/* its name is free once the last copy is closed */
		{ "unix:@test_listen_check", shut_down, -ESHUTDOWN, "cannot be revived" },
	};
	struct listener *l;
	unsigned len, backlog;
	int r;

	if (cases[_i].at[0] == '[' && !have_ipv6())
		return;
	l = open_at(cases[_i].at);
	as_worker(l, cases[_i].act);
	e = (struct err){0};
	r = listener_check(l, 100, &e);
	ck_assert_msg(r == cases[_i].want, "%s %d: %d %s", cases[_i].at, _i, r, e.text);
	ck_assert_msg(strstr(e.text, cases[_i].text) != NULL, "%s", e.text);
	if (r >= 0) {
		close(accept_one(l));
		ck_assert_int_ne(fcntl(l->fd, F_GETFL) & O_NONBLOCK, 0);
		if (l->address.kind == ADDRESS_TCP) {
			ck_assert_int_eq(listener_queue(l, &len, &backlog), 0);
			ck_assert_uint_eq(backlog, 100);
		}
		ck_assert_int_eq(listener_check(l, 100, &e), 0);
	} else {
		/* its owner opens the address again */
		listener_unref(l);
		l = open_at(cases[_i].at);
		close(accept_one(l));
	}
	listener_unref(l);
}
END_TEST

/* A port that was given, not chosen by the kernel, stays bound over a shutdown. */
START_TEST(repair_of_a_fixed_port)
{
	struct listener *l = open_at("127.0.0.1:0");
	char text[160];

	snprintf(text, sizeof(text), "%s", l->address.text);
	listener_unref(l);
	l = open_at(text);
	listener_shutdown(l);
	ck_assert_int_eq(connect_to(l), -ECONNREFUSED);
	ck_assert_int_eq(listener_check(l, 100, &e), 1);
	ck_assert_str_eq(l->address.text, text);
	close(accept_one(l));
	listener_unref(l);
}
END_TEST

/* Somebody took the port while it was down. */
START_TEST(beyond_repair)
{
	struct listener *l = open_at("127.0.0.1:0"), *thief;
	char text[160];

	snprintf(text, sizeof(text), "%s", l->address.text);
	listener_shutdown(l);
	thief = open_at(text);
	ck_assert_int_eq(listener_check(l, 100, &e), -EADDRINUSE);
	ck_assert_msg(strstr(e.text, text) != NULL, "%s", e.text);
	listener_unref(thief);
	ck_assert_int_eq(listener_check(l, 100, &e), 1);
	close(accept_one(l));
	close(l->fd);
	ck_assert_int_eq(listener_check(l, 100, &e), -EBADF);
	l->fd = -1;
	listener_unref(l);
}
END_TEST

START_TEST(shutdown_ends_all_copies)
{
	struct listener *l;
	int copy, client;

	if (places[_i][0] == '[' && !have_ipv6())
		return;
	l = open_at(places[_i]);
	copy = dup(l->fd);
	listener_shutdown(l);
	listener_shutdown(l);
	client = connect_to(l);
	ck_assert_int_eq(client, -ECONNREFUSED);
	close(copy);
	listener_unref(l);
}
END_TEST

START_TEST(queue)
{
	struct listener *l = open_at("127.0.0.1:0");
	unsigned len = 77, backlog = 77;
	int clients[3];

	ck_assert_int_eq(listener_queue(l, &len, &backlog), 0);
	ck_assert_uint_eq(len, 0);
	ck_assert_uint_eq(backlog, 100);
	for (int i = 0; i < 3; i++) {
		clients[i] = connect_to(l);
		ck_assert_int_ge(clients[i], 0);
	}
	ck_assert_int_eq(listener_queue(l, &len, &backlog), 0);
	ck_assert_uint_eq(len, 3);
	close(accept(l->fd, NULL, NULL));
	ck_assert_int_eq(listener_queue(l, &len, &backlog), 0);
	ck_assert_uint_eq(len, 2);
	for (int i = 0; i < 3; i++)
		close(clients[i]);
	listener_shutdown(l);
	ck_assert_int_eq(listener_queue(l, &len, &backlog), -EINVAL);
	listener_unref(l);
	l = open_at("unix:sock");
	ck_assert_int_eq(listener_queue(l, &len, &backlog), -ENOTSUP);
	listener_unref(l);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("all");

	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDNAMES");
	tcase_set_timeout(tc, 30);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, adopted, 0, 3);
	tcase_add_test(tc, not_to_be_adopted);
	tcase_add_test(tc, inherited);
	tcase_add_loop_test(tc, check_and_repair, 0, 13);
	tcase_add_test(tc, repair_of_a_fixed_port);
	tcase_add_test(tc, beyond_repair);
	tcase_add_loop_test(tc, shutdown_ends_all_copies, 0, 6);
	tcase_add_test(tc, queue);
	return run_case("listen_check", tc);
}
