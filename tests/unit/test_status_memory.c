/*
 * test_status_memory.c - private and shared memory in the JSON, the table and the metrics.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/status.h"

#include "base/buf.h"
#include "run_case.h"
#include "status_expect.h"

#include <check.h>
#include <string.h>

#define MB (UINT64_C(1) << 20)

static struct status_worker workers[3];
static struct status s;

static void
set_up(void)
{
	for (unsigned i = 0; i < 3; i++)
		workers[i] = (struct status_worker){
			.slot = i < 2 ? i + 1 : 2, .pid = (pid_t)(1001 + i), .serial = i + 1,
			.state = WS_READY, .rss_bytes = 100 * MB, .footprint_known = true,
			.uss_bytes = 30 * MB, .pss_bytes = 50 * MB,
		};
	s = (struct status){
		.version = "0.1", .name = "shop", .app = "wsgi shop:app", .pid = 1000,
		.state = MS_RUNNING, .target_workers = 2, .workers = workers, .n_workers = 3,
	};
}

/* The table and the metrics of s, one after the other. */
static char *
print(void)
{
	json_t *o = status_to_json(&s);
	AUTO_BUF struct buf b = BUF_INIT(1u << 20);

	ck_assert_ptr_nonnull(o);
	ck_assert_int_eq(status_print_table(o, 80, &b), 0);
	for (const char *line = b.data; *line != '\0'; line += strcspn(line, "\n") + 1)
		ck_assert_uint_le(strcspn(line, "\n"), 80);
	ck_assert_int_eq(status_print_metrics(o, METRICS_OPENMETRICS, &b), 0);
	json_decref(o);
	return strdup(b.data);
}

START_TEST(json)
{
	json_t *o, *memory, *list;

	workers[1].swap_bytes = 4 * MB;
	workers[2].footprint_known = false;
	o = status_to_json(&s);
	ck_assert_ptr_nonnull(o);
	memory = json_object_get(o, "memory");
	list = json_object_get(o, "workers");
	check_number(json_array_get(list, 0), "uss_bytes", 30 << 20);
	check_number(json_array_get(list, 0), "pss_bytes", 50 << 20);
	check_number(json_array_get(list, 0), "swap_bytes", 0);
	check_number(json_array_get(list, 1), "swap_bytes", 4 << 20);
	check_number(json_array_get(list, 2), "uss_bytes", -1);
	check_number(json_array_get(list, 2), "pss_bytes", -1);
	check_number(json_array_get(list, 2), "swap_bytes", -1);
	check_number(memory, "rss_bytes", 300 << 20);
	check_number(memory, "pss_bytes", 100 << 20);
	check_number(memory, "uss_bytes", 60 << 20);
	check_number(memory, "shared_bytes", 40 << 20);
	check_number(memory, "swap_bytes", 4 << 20);
	ck_assert(json_is_null(json_object_get(memory, "unavailable")));
	json_decref(o);
}
END_TEST

START_TEST(for_people)
{
	AUTO_FREE char *text = print(), *swapped = NULL;

	expect(text, "3 of 2 workers ready, 300.0M resident", true);
	expect(text, "\nmemory: 150.0M in all (PSS), 90.0M private, 60.0M shared\n", true);
	expect(text, "   RSS   USS AGE NOTE\n", true);
	expect(text, " 100.0M 30.0M ", true);
	expect(text, "unavailable", false);
	workers[0].swap_bytes = 12 * MB;
	swapped = print();
	expect(swapped, "shared; swapped out: 12.0M\n", true);
}
END_TEST

START_TEST(for_metrics)
{
	AUTO_FREE char *text = print();

	expect(text, "\npreforkd_memory_rss_bytes 314572800\n", true);
	expect(text, "\npreforkd_memory_pss_bytes 157286400\n", true);
	expect(text, "\npreforkd_memory_uss_bytes 94371840\n", true);
	expect(text, "\npreforkd_memory_shared_bytes 62914560\n", true);
	expect(text, "\npreforkd_memory_swap_bytes 0\n", true);
	expect(text, "\npreforkd_worker_uss_bytes{slot=\"1\"} 31457280\n", true);
	/* a slot's two workers together */
	expect(text, "\npreforkd_worker_pss_bytes{slot=\"2\"} 104857600\n", true);
}
END_TEST

START_TEST(unavailable)
{
	AUTO_FREE char *text = NULL;
	json_t *o;

	for (unsigned i = 0; i < 3; i++)
		workers[i].footprint_known = false;
	s.uss_unavailable = "nobody may look";
	o = status_to_json(&s);
	ck_assert_ptr_nonnull(o);
	check_number(json_object_get(o, "memory"), "rss_bytes", 300 << 20);
	check_number(json_object_get(o, "memory"), "pss_bytes", -1);
	check_number(json_object_get(o, "memory"), "uss_bytes", -1);
	check_number(json_object_get(o, "memory"), "shared_bytes", -1);
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(o, "memory"),
	    "unavailable")), "nobody may look");
	json_decref(o);
	text = print();
	expect(text, "(USS) is unavailable: nobody may look\n", true);
	expect(text, "in all (PSS)", false);
	expect(text, " 100.0M   - ", true);
	expect(text, "preforkd_memory_rss_bytes 314572800\n", true);
	expect(text, "\npreforkd_memory_pss_bytes ", false);
	expect(text, "\npreforkd_worker_uss_bytes{", false);
}
END_TEST

/* Workers whose sizes were taken at different times. */
START_TEST(odd_sums)
{
	json_t *o;

	workers[0].uss_bytes = UINT64_C(1) << 40;
	o = status_to_json(&s);
	ck_assert_ptr_nonnull(o);
	check_number(json_object_get(o, "memory"), "shared_bytes", 0);
	json_decref(o);
	s.n_workers = 0;
	o = status_to_json(&s);
	ck_assert_ptr_nonnull(o);
	check_number(json_object_get(o, "memory"), "rss_bytes", -1);
	check_number(json_object_get(o, "memory"), "uss_bytes", -1);
	json_decref(o);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("all");

	tcase_add_checked_fixture(tc, set_up, NULL);
	tcase_add_test(tc, json);
	tcase_add_test(tc, for_people);
	tcase_add_test(tc, for_metrics);
	tcase_add_test(tc, unavailable);
	tcase_add_test(tc, odd_sums);
	return run_case("status_memory", tc);
}
