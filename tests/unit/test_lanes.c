/*
 * test_lanes.c - lanes of a real address: which socket the kernel gives new connections to.
 */
#include "listen_open.h"
#include "run_case.h"

#include "model/steering.h"
#include "system/lanes.h"

#define LANES 6u

/* So many that no live lane is left out by chance: 6 * (5/6)^200 is 1e-15. In parts that fit in
 * the shortest queue. */
#define CALLS 200u
#define PART 50u

static struct listener *l;

static void
connect_some(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		ck_assert_int_eq(connect(fd, (struct sockaddr *)&l->address.sa,
		    l->address.sa_len), 0);
		close(fd);
	}
}

/* Accepts all that waits at a lane, and says how many that were. */
static unsigned
empty(unsigned lane)
{
	int fd = lanes_socket(l, lane)->fd, one;
	unsigned n = 0;

	while ((one = accept(fd, NULL, NULL)) >= 0) {
		close(one);
		n++;
	}
	ck_assert_int_eq(errno, EAGAIN);
	return n;
}

static void
steer(unsigned mask)
{
	uint8_t shares[LANES];

	for (unsigned i = 0; i < LANES; i++)
		shares[i] = (uint8_t)(mask >> i & 1);
	ck_assert_int_eq(lanes_steer(l, shares, LANES, &e), 0);
}

/* New connections go to the lanes of the mask, to each of them, and to no other. */
static void
check_steering(unsigned mask)
{
	unsigned got[LANES] = { 0 }, sum = 0;

	for (unsigned part = 0; part < CALLS / PART; part++) {
		connect_some(PART);
		for (unsigned i = 0; i < lanes_count(l); i++)
			got[i] += empty(i);
	}
	for (unsigned i = 0; i < lanes_count(l); i++) {
		ck_assert_msg((got[i] > 0) == ((mask >> i & 1) != 0), "mask %x: lane %u got %u",
		    mask, i, got[i]);
		sum += got[i];
	}
	ck_assert_uint_eq(sum, CALLS);
}

static void
grow(unsigned n)
{
	ck_assert_msg(lanes_grow(l, n, 128, &e) == 0, "%s", e.text);
	ck_assert_uint_eq(lanes_count(l), n);
}

static void
open_lanes(void)
{
	setup();
	l = open_at("127.0.0.1:0");
	ck_assert_uint_eq(lanes_count(l), 1);
	ck_assert_ptr_eq(lanes_socket(l, 3), l);
	grow(LANES);
}

static void
close_lanes(void)
{
	listener_unref(l);
	teardown();
}

START_TEST(steered_to_live_lanes)
{
	steer((unsigned)_i);
	check_steering((unsigned)_i);
}
END_TEST

START_TEST(a_new_lane_gets_nothing_before_it_is_live)
{
	lanes_shrink(l, 2);
	steer(3);
	grow(LANES);
	check_steering(3);
	steer(0x3f);
	check_steering(0x3f);
}
END_TEST

START_TEST(up_and_down)
{
	for (unsigned i = 0; i < 40; i++) {
		unsigned n = 2 + i * 7 % 5;

		if (lanes_count(l) < n)
			grow(n);
		steer((1u << n) - 1);
		lanes_shrink(l, n);
		check_steering((1u << n) - 1);
		steer(2);
		check_steering(2);
	}
	lanes_shrink(l, 1);
	check_steering(1);
}
END_TEST

START_TEST(one_that_was_shut_down_comes_back)
{
	listener_shutdown(lanes_socket(l, 1));
	ck_assert_int_eq(lanes_check(l, 1, 128, &e), 1);
	ck_assert_int_eq(e.code, ESHUTDOWN);
	for (unsigned i = 0; i < LANES; i++) {
		steer(1u << i);
		check_steering(1u << i);
	}
}
END_TEST

START_TEST(what_waits_stays_where_it_is)
{
	steer(4);
	connect_some(9);
	steer(1);
	connect_some(5);
	ck_assert(listener_has_waiting(lanes_socket(l, 2)));
	ck_assert_uint_eq(empty(2), 9);
	ck_assert_uint_eq(empty(0), 5);
	ck_assert(!listener_has_waiting(lanes_socket(l, 2)));
}
END_TEST

START_TEST(a_stranger_cannot_share_the_first_socket)
{
	char text[160];

	snprintf(text, sizeof text, "%s", l->address.text);
	ck_assert_int_eq(try_open(text), -EADDRINUSE);
}
END_TEST

START_TEST(blocked)
{
	struct timeval patience = { .tv_usec = 200000 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	steer(0x3f);
	connect_some(12);
	lanes_block(l);
	lanes_block(l);
	/* new ones hear nothing, neither yes nor no */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	ck_assert_int_lt(connect(fd, (struct sockaddr *)&l->address.sa, l->address.sa_len), 0);
	ck_assert_int_eq(errno, EINPROGRESS);
	close(fd);
	/* old ones are served, and live */
	for (unsigned i = 0, sum = 0; i < LANES; i++) {
		sum += empty(i);
		ck_assert_msg(i + 1 < LANES || sum == 12, "%u", sum);
	}
}
END_TEST

START_TEST(blocked_and_opened_again)
{
	steer(0x3f);
	lanes_block(l);
	ck_assert(lanes_unblock(l));
	ck_assert(lanes_unblock(l));
	check_steering(0x3f);
}
END_TEST

START_TEST(a_unix_socket_is_blocked_by_its_name)
{
	struct listener *u = open_at("unix:lanes.socket");
	struct sockaddr_storage sa = u->address.sa;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), waiting;

	ck_assert(!lanes_possible(u));
	ck_assert_int_eq(lanes_grow(u, 2, 128, &e), -ERANGE);
	waiting = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(waiting, (struct sockaddr *)&sa, u->address.sa_len), 0);
	lanes_block(u);
	ck_assert_int_lt(connect(fd, (struct sockaddr *)&sa, u->address.sa_len), 0);
	ck_assert_int_eq(errno, ENOENT);
	ck_assert(listener_has_waiting(u));
	ck_assert(!lanes_unblock(u));
	close(fd);
	close(waiting);
	listener_unref(u);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("core");

	tcase_add_checked_fixture(tc, open_lanes, close_lanes);
	tcase_add_loop_test(tc, steered_to_live_lanes, 1, 64);
	tcase_add_test(tc, a_new_lane_gets_nothing_before_it_is_live);
	tcase_add_test(tc, up_and_down);
	tcase_add_test(tc, one_that_was_shut_down_comes_back);
	tcase_add_test(tc, what_waits_stays_where_it_is);
	tcase_add_test(tc, a_stranger_cannot_share_the_first_socket);
	tcase_add_test(tc, blocked);
	tcase_add_test(tc, blocked_and_opened_again);
	tcase_add_test(tc, a_unix_socket_is_blocked_by_its_name);
	return run_case("lanes", tc);
}
