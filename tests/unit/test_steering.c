/*
 * test_steering.c - the books of the kernel's array, and the program, run by an interpreter of
 * the few instructions that it may have.
 */
#include "model/steering.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define DRAWS 10000u

static struct steering s;
static struct sock_filter code[STEERING_PROGRAM_MAX];

/* The index that the program gives when the kernel's random number is `random`. */
static unsigned
run(unsigned n, uint32_t random)
{
	uint32_t a = 0;

	ck_assert_uint_ge(n, 1);
	ck_assert_uint_le(n, STEERING_PROGRAM_MAX);
	for (unsigned pc = 0; pc < n; pc++) {
		const struct sock_filter *f = &code[pc];

		switch (f->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			ck_assert_uint_eq(f->k, (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM));
			a = random;
			break;
		case BPF_ALU | BPF_MOD | BPF_K:
			ck_assert_uint_ne(f->k, 0);
			a %= f->k;
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
			pc += a == f->k ? f->jt : f->jf;
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

/* Every live lane gets its share of the draws, the others none. */
static void
check_shares(const bool *live, unsigned n_live)
{
	unsigned hits[STEERING_LANES_MAX] = { 0 };
	unsigned n = steering_program(&s, live, n_live, code), alive = 0;

	for (unsigned i = 0; i < s.n; i++)
		alive += s.order[i] < n_live && live[s.order[i]];
	for (uint32_t r = 0; r < DRAWS; r++) {
		unsigned index = run(n, r);

		ck_assert_uint_lt(index, s.n);
		hits[s.order[index]]++;
	}
	for (unsigned i = 0; i < s.n; i++) {
		unsigned lane = s.order[i], share = DRAWS / (alive > 0 ? alive : s.n);

		if (alive > 0 && (lane >= n_live || !live[lane]))
			ck_assert_msg(hits[lane] == 0, "dead lane %u", lane);
		else
			ck_assert_msg(hits[lane] >= share && hits[lane] <= share + 1,
			    "lane %u: %u of %u", lane, hits[lane], share);
	}
}

START_TEST(dealt_to_live_lanes)
{
	bool live[9];

	fill(8);
	/* the 512 sets of nine lanes, of which there are eight */
	for (unsigned set = 0; set < 1u << ARRAY_LEN(live); set++) {
		for (unsigned i = 0; i < ARRAY_LEN(live); i++)
			live[i] = (set >> i & 1) != 0;
		check_shares(live, ARRAY_LEN(live));
	}
}
END_TEST

START_TEST(fewer_are_known_to_live_than_there_are)
{
	const bool live[] = { false, true };

	fill(5);
	check_shares(live, ARRAY_LEN(live));
	check_shares(NULL, 0);
}
END_TEST

/* One case of steering_choose(): for each lane its connections, "-" for dead, with "!" when
 * connections wait there; and the lanes that shall get new ones. */
static const struct choice {
	const char *lanes, *picked;
} choices[] = {
	{ "- -", "" },
	{ "0", "0" },
	{ "5!", "0" },
	{ "0 0 0 0", "0123" },
	{ "16 17 15 16", "0123" },
	{ "16 - 15 16", "023" },
	{ "22 14 14 14", "123" },
	{ "20 20 0 0", "23" },
	/* the one with no connections may be one that hangs: another one shares the risk */
	{ "20 20 20 0", "03" },
	{ "20 10 21 0", "13" },
	{ "20 20! 20 20", "023" },
	{ "3! 3! 3! 3!", "0123" },
	{ "9! 3 3 -", "12" },
	{ "3! 3! 3 -", "012" },
	{ "0 1 2 3", "012" },
	{ "1000000 1000000 0", "02" },
};

START_TEST(chosen)
{
	const struct choice *c = &choices[_i];
	struct steering_lane lanes[8] = {{ false, false, 0 }};
	bool pick[8];
	char got[9] = "";
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
	steering_choose(lanes, n, pick);
	for (unsigned i = 0; i < n; i++)
		if (pick[i])
			got[strlen(got)] = (char)('0' + i);
	ck_assert_msg(strcmp(got, c->picked) == 0, "%s: %s instead of %s", c->lanes, got,
	    c->picked);
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
	bool live[STEERING_LANES_MAX];

	fill(STEERING_LANES_MAX);
	ck_assert(!steering_add(&s, 1));
	memset(live, true, sizeof live);
	live[7] = false;
	check_shares(live, STEERING_LANES_MAX);
	ck_assert_uint_le(steering_program(&s, live, STEERING_LANES_MAX, code),
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
	check_shares((const bool[]){ false, true, false, false, true }, 5);
	/* the last one itself */
	steering_remove(&s, 1);
	ck_assert_mem_eq(s.order, after, sizeof after);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("steering");
	TCase *tc = tcase_create("core");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, dealt_to_live_lanes);
	tcase_add_test(tc, fewer_are_known_to_live_than_there_are);
	tcase_add_loop_test(tc, chosen, 0, ARRAY_LEN(choices));
	tcase_add_test(tc, nothing_to_steer);
	tcase_add_test(tc, the_longest_program_fits);
	tcase_add_test(tc, the_last_takes_the_place_of_one_that_leaves);
	suite_add_tcase(suite, tc);
	sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
