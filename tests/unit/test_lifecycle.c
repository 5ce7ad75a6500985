/*
 * test_lifecycle.c - every cell of both tables, walks of random events, and the small rules.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/lifecycle.h"
#include "model/settings.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

START_TEST(test_worker_cells_filled)
{
	for (unsigned s = 0; s < WS_N; s++)
		for (unsigned e = 0; e < WE_N; e++) {
			const struct worker_step *step = lifecycle_worker_step(s, e);

			ck_assert_msg(step->kind != STEP_UNSET, "%s x %s is not filled in",
			    worker_state_name(s), worker_event_name(e));
			ck_assert_msg(step->kind == STEP_GO || step->acts == 0, "%s x %s: acts "
			    "without a move", worker_state_name(s), worker_event_name(e));
		}
}
END_TEST

START_TEST(test_master_cells_filled)
{
	for (unsigned s = 0; s < MS_N; s++)
		for (unsigned e = 0; e < ME_N; e++)
			ck_assert_msg(lifecycle_master_step(s, e)->kind != STEP_UNSET,
			    "%s x %u is not filled in", master_state_name(s), e);
}
END_TEST

START_TEST(test_worker_rules)
{
	for (unsigned s = 0; s < WS_N; s++) {
		const struct worker_step *exit = lifecycle_worker_step(s, WE_EXIT);
		const struct worker_step *kill = lifecycle_worker_step(s, WE_KILL);

		if (!worker_state_is_alive(s)) {
			ck_assert_int_eq(exit->kind, STEP_NEVER);
			ck_assert(kill->kind == STEP_IGNORE || kill->next == WS_VACANT);
			continue;
		}
		/* A dead process leaves every state, and what belonged to it is released. */
		ck_assert_int_eq(exit->next, WS_VACANT);
		ck_assert_uint_eq(exit->acts, ACT_GONE);
		/* A hard limit acts at once, whatever goes on. */
		ck_assert_int_eq(kill->next, WS_KILLED);
		ck_assert((kill->acts & (ACT_KILL | ACT_KILL_NOW)) != 0);
		/* Only a worker that serves drains. */
		ck_assert_int_eq((lifecycle_worker_step(s, WE_DRAIN)->acts & ACT_DRAIN) != 0,
		    s == WS_READY);
	}
}
END_TEST

/* However events come, one EXIT ends it, and deadlines alone end every dying worker. */
START_TEST(test_worker_walk)
{
	static const enum worker_event may[] = {
		WE_READY, WE_DRAIN, WE_STOP, WE_KILL, WE_DEADLINE,
	};
	unsigned seed = 20261121u + (unsigned)_i;

	for (int round = 0; round < 2000; round++) {
		enum worker_state s = lifecycle_worker_step(WS_VACANT, WE_SPAWN)->next;
		int deadlines = 0;

		for (int i = 0; i < 20; i++) {
			const struct worker_step *step;
			enum worker_event e = may[(unsigned)rand_r(&seed) % ARRAY_LEN(may)];

			step = lifecycle_worker_step(s, e);
			if (step->kind == STEP_NEVER)
				continue;
			if (step->kind == STEP_GO)
				s = step->next;
			ck_assert_msg(worker_state_is_alive(s), "seed base 20261121+%d", _i);
		}
		if (s != WS_READY && s != WS_STARTING) {
			while (s != WS_KILLED && deadlines++ < 5)
				s = lifecycle_worker_step(s, WE_DEADLINE)->next;
			ck_assert_int_eq(s, WS_KILLED);
		}
		ck_assert_int_eq(lifecycle_worker_step(s, WE_EXIT)->next, WS_VACANT);
	}
}
END_TEST

START_TEST(test_master_rules)
{
	for (unsigned s = 0; s < MS_N; s++) {
		ck_assert_int_eq(lifecycle_master_step(s, ME_STOP)->next, MS_STOPPING);
		ck_assert_int_eq(lifecycle_master_step(s, ME_QUIT)->next, MS_STOPPING);
	}
	ck_assert_int_eq(lifecycle_master_step(MS_STOPPING, ME_RELOAD)->kind, STEP_IGNORE);
	ck_assert_uint_eq(lifecycle_master_step(MS_STOPPING, ME_STOP)->acts, MACT_QUIT);
	ck_assert_uint_eq(lifecycle_master_step(MS_RELOADING, ME_RELOAD)->acts,
	    MACT_QUEUE_RELOAD);
	ck_assert_uint_eq(lifecycle_master_step(MS_RELOADING, ME_STOP)->acts,
	    MACT_CANCEL_RELOAD | MACT_STOP);
}
END_TEST

START_TEST(test_names)
{
	for (unsigned r = 0; r < REASON_N; r++)
		ck_assert_ptr_nonnull(reason_name(r));
	ck_assert_str_eq(reason_name(REASON_RSS), "reload-on-rss");
	ck_assert_str_eq(reason_name(REASON_EVIL_RSS), "evil-reload-on-rss");
	ck_assert_str_eq(reason_name(REASON_MAX_LIFETIME), "max-worker-lifetime");
	ck_assert(reason_is_planned(REASON_RELOAD));
	ck_assert(reason_is_planned(REASON_STOP));
	ck_assert(!reason_is_planned(REASON_CRASH));
	ck_assert(!reason_is_planned(REASON_TIMEOUT));
}
END_TEST

START_TEST(test_backoff)
{
	ck_assert_uint_eq(backoff_ms(1), 500);
	ck_assert_uint_eq(backoff_ms(2), 750);
	ck_assert_uint_eq(backoff_ms(3), 1125);
	for (unsigned n = 1; n < 100; n++) {
		ck_assert_uint_le(backoff_ms(n), 30000);
		ck_assert_uint_ge(backoff_ms(n + 1), backoff_ms(n));
	}
	ck_assert_uint_eq(backoff_ms(100), 30000);
	ck_assert_uint_eq(backoff_ms(UINT32_MAX), 30000);
}
END_TEST

START_TEST(test_mold_backoff)
{
	ck_assert_uint_eq(mold_backoff_ms(1), 500);
	ck_assert_uint_eq(mold_backoff_ms(2), 30000);
	ck_assert_uint_eq(mold_backoff_ms(3), 60000);
	for (unsigned n = 1; n < 100; n++)
		ck_assert_uint_ge(mold_backoff_ms(n + 1), mold_backoff_ms(n));
	ck_assert_uint_eq(mold_backoff_ms(6), 300000);
	ck_assert_uint_eq(mold_backoff_ms(UINT32_MAX), 300000);
}
END_TEST

START_TEST(test_draw_limit)
{
	const struct jitter_setting percent = { true, 10 }, none = { false, 0 };
	const struct jitter_setting absolute = { false, 100 };
	const struct jitter_setting huge = { false, UINT64_MAX };

	ck_assert_uint_eq(draw_limit(0, &absolute, 77), 0);
	ck_assert_uint_eq(draw_limit(500, &none, 77), 500);
	ck_assert_uint_eq(draw_limit(500, &absolute, 0), 500);
	ck_assert_uint_eq(draw_limit(500, &absolute, 100), 600);
	ck_assert_uint_eq(draw_limit(500, &absolute, 101), 500);
	ck_assert_uint_eq(draw_limit(1000, &percent, 100), 1100);
	ck_assert_uint_eq(draw_limit(5, &percent, 12345), 5);
	ck_assert_uint_ge(draw_limit(UINT64_MAX - 5, &huge, 12345), UINT64_MAX - 5);
	for (uint64_t r = 0; r < 5000; r++) {
		uint64_t v = draw_limit(500, &absolute, r * UINT64_C(0x9E3779B97F4A7C15));

		ck_assert(v >= 500 && v <= 600);
	}
}
END_TEST

static const struct {
	const char *label;
	struct liveness l;
	uint64_t now;
	enum reason reason;
	uint64_t next;
} liveness_rows[] = {
	{ "all off", { 0, 0, 0, 0 }, 99999, REASON_NONE, UINT64_MAX },
	{ "fresh beat", { 1000, 500, 0, 0 }, 1200, REASON_NONE, 1500 },
	{ "just in time", { 1000, 500, 0, 0 }, 1499, REASON_NONE, 1500 },
	{ "late beat", { 1000, 500, 0, 0 }, 1500, REASON_TIMEOUT, 0 },
	{ "request runs", { 1000, 500, 1100, 300 }, 1200, REASON_NONE, 1400 },
	{ "request too long", { 1000, 500, 1100, 300 }, 1400, REASON_REQUEST_TIMEOUT, 0 },
	{ "request too long, beating", { 1390, 500, 1100, 300 }, 1400, REASON_REQUEST_TIMEOUT, 0 },
	{ "no request, limit set", { 1000, 500, 0, 300 }, 1400, REASON_NONE, 1500 },
	{ "request limit alone", { 0, 0, 1100, 300 }, 1200, REASON_NONE, 1400 },
};

START_TEST(test_liveness)
{
	uint64_t next = 0;
	enum reason r = liveness_check(&liveness_rows[_i].l, liveness_rows[_i].now, &next);

	ck_assert_msg(r == liveness_rows[_i].reason, "%s: %s", liveness_rows[_i].label,
	    reason_name(r));
	if (r == REASON_NONE)
		ck_assert_msg(next == liveness_rows[_i].next, "%s: next %llu",
		    liveness_rows[_i].label, (unsigned long long)next);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("lifecycle");
	TCase *tables = tcase_create("tables"), *rules = tcase_create("rules");
	SRunner *sr;
	int failed;

	tcase_add_test(tables, test_worker_cells_filled);
	tcase_add_test(tables, test_master_cells_filled);
	tcase_add_test(tables, test_worker_rules);
	tcase_add_loop_test(tables, test_worker_walk, 0, 8);
	tcase_add_test(tables, test_master_rules);
	tcase_add_test(rules, test_names);
	tcase_add_test(rules, test_backoff);
	tcase_add_test(rules, test_mold_backoff);
	tcase_add_test(rules, test_draw_limit);
	tcase_add_loop_test(rules, test_liveness, 0, (int)ARRAY_LEN(liveness_rows));
	suite_add_tcase(s, tables);
	suite_add_tcase(s, rules);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
