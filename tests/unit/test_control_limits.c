/*
 * test_control_limits.c - clients that are slow, rude or many, and the socket's file.
 */
#include "control_rig.h"
#include "run_case.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

START_TEST(slow_reader)
{
	int slow = connect_client(), other = connect_client();

	asked.status_bytes = 3u << 20;
	control->wait_s[CW_SEND] = 0.2;
	ask(slow, CALL("Status", "{}"));
	TURN_UNTIL(control_has_unsent(control));
	/* nobody waits for it */
	for (int i = 0; i < 20; i++) {
		ask(other, PING);
		expect(other, DONE);
	}
	TURN_UNTIL(!control_has_unsent(control));
	ck_assert_int_lt(control->conns[0].fd, 0);
	close(slow);
	close(other);
}
END_TEST

START_TEST(large_answer)
{
	AUTO_BUF struct buf in = BUF_INIT(VARLINK_REPLY_MAX);
	int fd = connect_client();
	json_t *got;

	asked.status_bytes = 3u << 20;
	ask(fd, CALL("Status", "{}"));
	got = hear_from(fd, &in);
	ck_assert_uint_eq(json_string_length(json_object_get(json_object_get(json_object_get(got,
	    "parameters"), "status"), "text")), 3u << 20);
	json_decref(got);
	close(fd);
}
END_TEST

START_TEST(answer_beyond_limit)
{
	int fd = connect_client();

	asked.status_bytes = 5u << 20;
	ask(fd, CALL("Status", "{}"));
	expect_closed(fd);
}
END_TEST

START_TEST(progress_is_bounded)
{
	AUTO_FREE char *text = malloc(10001);
	int fd = connect_client();

	ck_assert_ptr_nonnull(text);
	memset(text, 'p', 10000);
	text[10000] = '\0';
	ask(fd, "{\"method\":\"io.preforkd.Manager.Reload\",\"more\":true}");
	TURN_UNTIL(asked.n == 1);
	for (int i = 0; i < 10000; i++)
		control_progress(control, asked.id, text);
	ck_assert_uint_lt(control->conns[0].out.len, CONTROL_PROGRESS_MAX + 20000);
	control_reply(control, asked.id, NULL);
	{
		AUTO_BUF struct buf in = BUF_INIT(1u << 20);
		bool is_last = false;

		while (!is_last) {
			json_t *got = hear_from(fd, &in);

			ck_assert_ptr_nonnull(got);
			is_last = json_object_get(got, "continues") == NULL;
			json_decref(got);
		}
	}
	close(fd);
}
END_TEST

START_TEST(deadlines)
{
	int idle, begun;

	control->wait_s[CW_IDLE] = _i == 0 ? 0.05 : 60.0;
	control->wait_s[CW_REQUEST] = _i == 1 ? 0.05 : 60.0;
	idle = connect_client();
	begun = connect_client();
	say(begun, "{", 1);
	if (_i == 0) {
		expect_closed(idle);
		close(begun);
	} else {
		expect_closed(begun);
		ask(idle, PING);
		expect(idle, DONE);
		close(idle);
	}
}
END_TEST

START_TEST(trickle_is_no_progress)
{
	int fd = connect_client();
	uint64_t begin = io_now_ms(), sent = begin;
	unsigned n = 0;

	control->wait_s[CW_REQUEST] = 0.1;
	/* a byte per millisecond for as long as it likes */
	while (control->conns[0].fd >= 0 || n < 2) {
		ck_assert_msg(io_now_ms() - begin < 5000, "still connected");
		if (io_now_ms() != sent) {
			sent = io_now_ms();
			(void)send(fd, " ", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
			n++;
		}
		ev_run(loop, EVRUN_NOWAIT);
	}
	ck_assert_uint_lt(n, VARLINK_REQUEST_MAX);
	close(fd);
}
END_TEST

START_TEST(pending_call_has_no_deadline)
{
	int fd, other;

	control->wait_s[CW_IDLE] = control->wait_s[CW_REQUEST] = control->wait_s[CW_SEND] = 0.05;
	fd = connect_client();
	ask(fd, CALL("Reload", "{}"));
	TURN_UNTIL(asked.n == 1);
	other = connect_client();
	expect_closed(other);	/* so the time of all deadlines has passed */
	control_reply(control, asked.id, NULL);
	expect(fd, DONE);
	close(fd);
}
END_TEST

START_TEST(many_clients)
{
	int fds[CONTROL_CLIENTS_MAX + 20];
	int n_closed = 0;

	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = connect_client();
		ask(fds[i], PING);
		expect(fds[i], DONE);
	}
	/* the ones that had been idle longest made room */
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		char byte;
		bool is_closed = recv(fds[i], &byte, 1, MSG_DONTWAIT) == 0;

		n_closed += is_closed;
		ck_assert_msg(is_closed == (i < 20), "client %zu", i);
	}
	ck_assert_int_eq(n_closed, 20);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
}
END_TEST

START_TEST(all_places_busy)
{
	int fds[CONTROL_CLIENTS_MAX], extra;

	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = connect_client();
		ask(fds[i], CALL("Reload", "{}"));
		TURN_UNTIL(asked.n == i + 1);
	}
	extra = connect_client();
	expect_closed(extra);
	ck_assert_ptr_nonnull(strstr(logged, "refusing"));
	/* one leaves, one may come */
	close(fds[3]);
	TURN_UNTIL(control->conns[3].fd < 0);
	fds[3] = connect_client();
	ask(fds[3], PING);
	expect(fds[3], DONE);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
}
END_TEST

START_TEST(descriptors_run_out)
{
	struct rlimit old, none;
	int fd = connect_client(), turns = 0;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = (rlim_t)fd + 1;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	for (; turns < 50; turns++)
		ev_run(loop, EVRUN_NOWAIT);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
	/* said once, and no turn of the loop was wasted on it since */
	ck_assert_ptr_nonnull(strstr(logged, "cannot accept"));
	ck_assert(!ev_is_active(&control->acceptor));
	ask(fd, PING);
	expect(fd, DONE);	/* after the pause */
	close(fd);
}
END_TEST

START_TEST(adopted_may_only_read)
{
	int ends[2];

	control->wait_s[CW_IDLE] = 0.05;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	ck_assert_int_eq(control_adopt(control, ends[0]), 0);
	{
		int other = connect_client();

		expect_closed(other);	/* the idle time has passed for others */
	}
	ask(ends[1], PING);
	expect(ends[1], DONE);
	ask(ends[1], CALL("Stop", "{}"));
	expect(ends[1], "{\"error\":\"io.preforkd.Manager.Refused\",\"parameters\":"
	    "{\"reason\":\"this connection may only read\"}}");
	ck_assert_uint_eq(asked.n, 0);
	control_free(control);
	control = NULL;
	{
		char byte;

		ck_assert_int_eq((int)recv(ends[1], &byte, 1, 0), 0);
	}
	close(ends[1]);
}
END_TEST

START_TEST(modes)
{
	struct control_path where = { .path = path, .mode = 0660, .gid = getgid() };
	char parent[128];
	mode_t old_mask;
	struct stat st;
	struct err e;

	snprintf(parent, sizeof(parent), "%s/run/shop", folder);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert(S_ISSOCK(st.st_mode));
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	control_free(control);
	ck_assert_msg(access(path, F_OK) < 0, "the socket is still there");
	ck_assert_int_eq(rmdir(parent), 0);

	old_mask = umask(077);
	control = control_new(loop, &rig_ops, &asked);
	ck_assert_msg(control_listen(control, &where, &e) == 0, "%s", e.text);
	ck_assert_uint_eq(umask(old_mask), 077);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0660);
	ck_assert_int_eq(stat(parent, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0755);
}
END_TEST

START_TEST(live_socket_is_refused)
{
	struct control_path where = { .path = path, .mode = 0600, .gid = (gid_t)-1 };
	struct control *second = control_new(loop, &rig_ops, &asked);
	struct err e = { 0 };
	int fd;

	ck_assert_int_eq(control_listen(second, &where, &e), -EADDRINUSE);
	ck_assert_msg(strstr(e.text, path) != NULL, "'%s'", e.text);
	control_free(second);
	fd = connect_client();		/* and it is still the first one's */
	ask(fd, PING);
	expect(fd, DONE);
	close(fd);
}
END_TEST

START_TEST(stale_socket_is_replaced)
{
	struct control_path where = { .path = path, .mode = 0600, .gid = (gid_t)-1 };
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int stale = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;
	struct err e;

	control_free(control);
	control = control_new(loop, &rig_ops, &asked);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%.100s", path);
	ck_assert_int_eq(bind(stale, (struct sockaddr *)&sa, sizeof(sa)), 0);
	close(stale);
	ck_assert_int_eq(access(path, F_OK), 0);
	ck_assert_msg(control_listen(control, &where, &e) == 0, "%s", e.text);
	fd = connect_client();
	ask(fd, PING);
	expect(fd, DONE);
	close(fd);
}
END_TEST

START_TEST(other_files_are_kept)
{
	struct control_path where = { .path = path, .mode = 0600, .gid = (gid_t)-1 };
	struct stat st;
	struct err e = { 0 };
	int fd;

	control_free(control);
	control = control_new(loop, &rig_ops, &asked);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_int_lt(control_listen(control, &where, &e), 0);
	ck_assert_str_ne(e.text, "");
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert(S_ISREG(st.st_mode));
}
END_TEST

START_TEST(another_ones_socket_is_kept)
{
	int fd;

	/* Somebody removed ours and made his own in its place. */
	ck_assert_int_eq(unlink(path), 0);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	close(fd);
	control_free(control);
	control = NULL;
	ck_assert_int_eq(access(path, F_OK), 0);
}
END_TEST

START_TEST(bad_paths)
{
	struct control *c = control_new(loop, &rig_ops, &asked);
	struct control_path where = { .mode = 0600, .gid = (gid_t)-1 };
	char far[300], below[256];
	struct err e = { 0 };

	memset(far, 'x', sizeof(far));
	far[0] = '/';
	far[sizeof(far) - 1] = '\0';
	snprintf(below, sizeof(below), "%s/control", path);
	where.path = far;
	ck_assert_int_eq(control_listen(c, &where, &e), -ENAMETOOLONG);
	ck_assert_ptr_nonnull(strstr(e.text, "107"));
	where.path = "control";
	ck_assert_int_eq(control_listen(c, &where, &e), -EINVAL);
	where.path = below;	/* a socket is no folder */
	ck_assert_int_lt(control_listen(c, &where, &e), 0);
	control_free(c);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("core");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, rig_setup, rig_teardown);
	tcase_add_test(tc, slow_reader);
	tcase_add_test(tc, large_answer);
	tcase_add_test(tc, answer_beyond_limit);
	tcase_add_test(tc, progress_is_bounded);
	tcase_add_loop_test(tc, deadlines, 0, 2);
	tcase_add_test(tc, trickle_is_no_progress);
	tcase_add_test(tc, pending_call_has_no_deadline);
	tcase_add_test(tc, many_clients);
	tcase_add_test(tc, all_places_busy);
	tcase_add_test(tc, descriptors_run_out);
	tcase_add_test(tc, adopted_may_only_read);
	tcase_add_test(tc, modes);
	tcase_add_test(tc, live_socket_is_refused);
	tcase_add_test(tc, stale_socket_is_replaced);
	tcase_add_test(tc, other_files_are_kept);
	tcase_add_test(tc, another_ones_socket_is_kept);
	tcase_add_test(tc, bad_paths);
	return run_case("control limits", tc);
}
