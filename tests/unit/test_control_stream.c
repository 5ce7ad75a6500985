/*
 * test_control_stream.c - an answer in parts: one after the other, as the client takes them.
 */
#include "control_rig.h"
#include "run_case.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define MEMORY "{\"method\":\"io.preforkd.Manager.Memory\",\"more\":true}"

/* The next message of fd, whatever comes beyond it. */
static json_t *
next(int fd, struct buf *in)
{
	json_t *got = hear_from(fd, in);

	ck_assert_ptr_nonnull(got);
	return got;
}

static void
expect_parts(int fd, unsigned parts)
{
	struct buf in = BUF_INIT(VARLINK_REPLY_MAX);

	for (unsigned i = 1; i <= parts; i++) {
		json_t *got = next(fd, &in);
		json_t *worker = json_object_get(json_object_get(got, "parameters"), "worker");

		ck_assert(json_is_true(json_object_get(got, "continues")));
		ck_assert_int_eq(json_integer_value(json_object_get(worker, "serial")), i);
		json_decref(got);
	}
	json_t *got = next(fd, &in);
	ck_assert_ptr_null(json_object_get(got, "continues"));
	ck_assert_ptr_nonnull(json_object_get(json_object_get(got, "parameters"), "facts"));
	json_decref(got);
	ck_assert_uint_eq(in.len, 0);
	buf_free(&in);
}

START_TEST(parts)
{
	static const unsigned counts[] = { 0, 1, 3, 500 };
	int fd = connect_client();

	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		asked.parts = counts[i];
		ask(fd, MEMORY);
		expect_parts(fd, counts[i]);
		/* and the connection lives on */
		ask(fd, PING);
		expect(fd, DONE);
	}
	close(fd);
}
END_TEST

/* One that does not read costs a part or two, nobody else waits, and it is dropped. */
START_TEST(slow_client)
{
	int slow, other;

	control->wait_s[CW_SEND] = 0.3;
	asked.parts = 1000000;
	asked.status_bytes = 100000;
	slow = connect_client();
	ask(slow, MEMORY);
	TURN_UNTIL(control->conns[0].waits_for == CW_SEND);
	other = connect_client();
	ask(other, PING);
	expect(other, DONE);
	ck_assert_uint_le(control->conns[0].out.len, 2 * asked.status_bytes);
	TURN_UNTIL(control->conns[0].fd < 0);
	/* what fitted into the socket and the buffer */
	ck_assert_uint_lt(asked.n, 100);
	ask(other, PING);
	expect(other, DONE);
	close(slow);
	close(other);
}
END_TEST

/* It goes while its answer is being sent. */
START_TEST(gone)
{
	int fd = connect_client();
	unsigned n;

	asked.parts = 1000000;
	asked.status_bytes = 1000;
	ask(fd, MEMORY);
	TURN_UNTIL(asked.n > 3);
	close(fd);
	TURN_UNTIL(control->conns[0].fd < 0);
	n = asked.n;
	/* the place serves the next one, with an answer of its own */
	asked.parts = 2;
	fd = connect_client();
	ask(fd, PING);
	expect(fd, DONE);
	ck_assert_uint_eq(asked.n, n);
	ask(fd, MEMORY);
	expect_parts(fd, 2);
	close(fd);
}
END_TEST

/* Two at a time do not get each other's parts. */
START_TEST(two_clients)
{
	int a = connect_client(), b = connect_client();

	asked.parts = 40;
	ask(a, MEMORY);
	ask(b, MEMORY);
	expect_parts(a, 40);
	expect_parts(b, 40);
	close(a);
	close(b);
}
END_TEST

START_TEST(out_of_memory)
{
	int fd = connect_client();

	asked.parts = UINT_MAX;
	ask(fd, MEMORY);
	expect_closed(fd);
}
END_TEST

/* Nobody wants the answer: none is made. */
START_TEST(oneway)
{
	int fd = connect_client();

	asked.parts = 2;
	ask(fd, MEMORY);
	expect_parts(fd, 2);
	asked.n = 0;
	ask(fd, "{\"method\":\"io.preforkd.Manager.Memory\",\"oneway\":true}");
	ask(fd, PING);
	expect(fd, DONE);
	ck_assert_uint_eq(asked.n, 0);
	close(fd);
}
END_TEST

int
main(void)
{
	TCase *c = tcase_create("parts");

	tcase_add_checked_fixture(c, rig_setup, rig_teardown);
	tcase_add_test(c, parts);
	tcase_add_test(c, slow_client);
	tcase_add_test(c, gone);
	tcase_add_test(c, two_clients);
	tcase_add_test(c, out_of_memory);
	tcase_add_test(c, oneway);
	return run_case("control_stream", c);
}
