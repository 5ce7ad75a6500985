/*
 * test_steering.c - the books of the kernel's array, and the program, run by an interpreter of
 * the few instructions that it may have.
 */
#include "model/steering.h"

#include "run_case.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DRAWS 10000u

/* ck_assert() for what is asked millions of times: Check writes a note of each of its own. */
#define ASSERT_QUIETLY(condition) \
	do { \
		if (!(condition)) \
			ck_abort_msg("not true: %s", #condition); \
	} while (0)

static struct steering s;
static struct sock_filter code[STEERING_PROGRAM_MAX];

/* The index that the program gives when the kernel's random number is `random`. */
static unsigned
run(unsigned n, uint32_t random)
{
	uint32_t a = 0;

	ASSERT_QUIETLY(n >= 1 && n <= STEERING_PROGRAM_MAX);
	for (unsigned pc = 0; pc < n; pc++) {
		const struct sock_filter *f = &code[pc];

		switch (f->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			ASSERT_QUIETLY(f->k == (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM));
			a = random;
			break;
		case BPF_ALU | BPF_MOD | BPF_K:
			ASSERT_QUIETLY(f->k != 0);
			a %= f->k;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			pc += a >= f->k ? f->jt : f->jf;
			break;
		case BPF_RET | BPF_K:
			return f->k;
		case BPF_RET | BPF_A:
			return a;
		default:
			ck_abort_msg("instruction %u: %x", pc, f->code);
		}
	}
	ck_abort_msg("the program runs off its end");
	return 0;
}

static void
fill(unsigned lanes)
{
	s = (struct steering){ .n = 0 };
	for (unsigned i = 0; i < lanes; i++)
		ck_assert(steering_add(&s, i));
}

/* Every lane gets its share of the draws; all of them alike when none has one. */
static void
check_shares(const uint8_t *shares, unsigned n_shares)
{
	unsigned hits[STEERING_LANES_MAX] = { 0 };
	unsigned n = steering_program(&s, shares, n_shares, code), sum = 0;

	for (unsigned i = 0; i < s.n; i++)
		sum += s.order[i] < n_shares ? shares[s.order[i]] : 0;
	for (uint32_t r = 0; r < DRAWS; r++) {
		unsigned index = run(n, r);

		ASSERT_QUIETLY(index < s.n);
		hits[s.order[index]]++;
	}
	for (unsigned i = 0; i < s.n; i++) {
		unsigned lane = s.order[i], parts = sum > 0 ? sum : s.n;
		unsigned share = sum == 0 ? 1 : lane < n_shares ? shares[lane] : 0;

		/* the last round of draws may end within the lane */
		ck_assert_msg(hits[lane] >= DRAWS / parts * share &&
		    hits[lane] <= (DRAWS / parts + 1) * share, "lane %u: %u of %u", lane,
		    hits[lane], share);
	}
}

START_TEST(dealt_to_live_lanes)
{
	uint8_t shares[9];

	fill(8);
	/* the 512 sets of nine lanes, of which there are eight */
	for (unsigned set = 0; set < 1u << ARRAY_LEN(shares); set++) {
		for (unsigned i = 0; i < ARRAY_LEN(shares); i++)
			shares[i] = (uint8_t)(set >> i & 1);
		check_shares(shares, ARRAY_LEN(shares));
	}
}
END_TEST

START_TEST(dealt_by_shares)
{
	fill(5);
	check_shares((const uint8_t[]){ 1, 2, 3, 4, 5 }, 5);
	check_shares((const uint8_t[]){ 0, 100, 0, 25, 0 }, 5);
	check_shares((const uint8_t[]){ 7, 7, 7, 7, 7 }, 5);
	check_shares((const uint8_t[]){ 7, 7, 0, 7, 7 }, 5);
	check_shares((const uint8_t[]){ 0, 0, 0, 0, 9 }, 5);
	check_shares((const uint8_t[]){ 100, 1 }, 2);
}
END_TEST

START_TEST(fewer_are_known_to_live_than_there_are)
{
	const uint8_t shares[] = { 0, 1 };

	fill(5);
	check_shares(shares, ARRAY_LEN(shares));
	check_shares(NULL, 0);
}
END_TEST

/* One case of steering_choose(): for each lane its connections, "-" for dead, with "!" when
 * connections wait there; how many are about to come again; and the shares of the lanes. */
static const struct choice {
	const char *lanes;
	unsigned returning;
	const char *shares;
} choices[] = {
	{ "- -", 0, "0 0" },
	{ "0", 0, "1" },
	{ "5!", 0, "1" },
	{ "0 0 0 0", 0, "1 1 1 1" },
	{ "16 17 15 16", 0, "1 1 1 1" },
	{ "16 - 15 16", 0, "1 0 1 1" },
	{ "22 14 14 14", 0, "0 1 1 1" },
	{ "20 20 0 0", 0, "0 0 1 1" },
	/* the one with no connections may be one that hangs: another one shares the risk */
	{ "20 20 20 0", 0, "1 0 0 1" },
	{ "20 10 21 0", 0, "0 1 0 1" },
	{ "20 20! 20 20", 0, "1 0 1 1" },
	{ "3! 3! 3! 3!", 0, "1 1 1 1" },
	{ "9! 3 3 -", 0, "0 1 1 0" },
	{ "3! 3! 3 -", 0, "1 1 1 0" },
	{ "0 1 2 3", 0, "1 1 1 0" },
	{ "1000000 1000000 0", 0, "1 0 1" },
	/* a successor, and others that have fewer connections than the one that drains, or more */
	{ "0 2", 14, "100 75" },
	{ "0 8", 8, "100 0" },
	{ "0 15", 1, "100 0" },
	{ "0", 16, "100" },
	{ "0 10 10 10", 10, "100 25 0 0" },
	{ "0 10 10 10", 2, "100 25 0 0" },
	{ "0 10 10 10", 1, "1 1 0 0" },
	{ "10 10 10 11", 1, "1 1 1 1" },
	{ "0 4 10 10", 16, "100 60 0 0" },
	{ "0 -", 16, "100 0" },
	{ "- -", 16, "0 0" },
	{ "0 3! 3", 9, "100 0 50" },
	{ "0 0 0", 1000000, "100 100 100" },
	{ "1000000 0", 1000000, "0 100" },
};

START_TEST(chosen)
{
	const struct choice *c = &choices[_i];
	struct steering_lane lanes[8] = {{ false, false, 0 }};
	uint8_t shares[8];
	char got[64] = "";
	unsigned n = 0;

	for (const char *p = c->lanes; *p != '\0'; p += strspn(p, " ")) {
		char *end;

		lanes[n].live = *p != '-';
		lanes[n].connections = lanes[n].live ? (unsigned)strtoul(p, &end, 10) : 0;
		p = lanes[n].live ? end : p + 1;
		lanes[n].waits = *p == '!';
		p += *p == '!';
		n++;
	}
	steering_choose(lanes, n, c->returning, shares);
	for (unsigned i = 0; i < n; i++)
		snprintf(got + strlen(got), sizeof got - strlen(got), "%s%u", i > 0 ? " " : "",
		    shares[i]);
	ck_assert_msg(strcmp(got, c->shares) == 0, "%s, %u: %s instead of %s", c->lanes,
	    c->returning, got, c->shares);
}
END_TEST

START_TEST(nothing_to_steer)
{
	fill(0);
	ck_assert_uint_eq(steering_program(&s, NULL, 0, code), 0);
}
END_TEST

START_TEST(the_longest_program_fits)
{
	uint8_t shares[STEERING_LANES_MAX];

	fill(STEERING_LANES_MAX);
	ck_assert(!steering_add(&s, 1));
	memset(shares, 1, sizeof shares);
	shares[7] = 0;
	check_shares(shares, STEERING_LANES_MAX);
	ck_assert_uint_le(steering_program(&s, shares, STEERING_LANES_MAX, code),
	    STEERING_PROGRAM_MAX);
}
END_TEST

START_TEST(the_last_takes_the_place_of_one_that_leaves)
{
	static const uint16_t after[] = { 0, 4, 2, 3 }, again[] = { 0, 4, 2, 3, 1 };

	fill(5);
	steering_remove(&s, 1);
	ck_assert_uint_eq(s.n, 4);
	ck_assert_mem_eq(s.order, after, sizeof after);
	steering_remove(&s, 77);
	ck_assert_uint_eq(s.n, 4);
	ck_assert(steering_add(&s, 1));
	ck_assert_mem_eq(s.order, again, sizeof again);
	check_shares((const uint8_t[]){ 0, 1, 0, 0, 1 }, 5);
	/* the last one itself */
	steering_remove(&s, 1);
	ck_assert_mem_eq(s.order, after, sizeof after);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("core");

	tcase_add_test(tc, dealt_to_live_lanes);
	tcase_add_test(tc, dealt_by_shares);
	tcase_add_test(tc, fewer_are_known_to_live_than_there_are);
	tcase_add_loop_test(tc, chosen, 0, ARRAY_LEN(choices));
	tcase_add_test(tc, nothing_to_steer);
	tcase_add_test(tc, the_longest_program_fits);
	tcase_add_test(tc, the_last_takes_the_place_of_one_that_leaves);
	return run_case("steering", tc);
}
