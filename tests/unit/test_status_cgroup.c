/*
 * test_status_cgroup.c - the control group's memory in the JSON, the table and the metrics.
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

static struct status_worker workers[2];
static struct status s;

static void
set_up(void)
{
	for (unsigned i = 0; i < 2; i++)
		workers[i] = (struct status_worker){
			.slot = 1, .pid = (pid_t)(1001 + i), .serial = i + 1, .state = WS_READY,
			.is_successor = i > 0, .rss_bytes = 100 * MB, .as_bytes = 700 * MB,
			.peak_rss_bytes = (120 + i) * MB, .footprint_known = true,
			.swap_bytes = 2 * MB, .uss_bytes = MB, .pss_bytes = MB,
		};
	s = (struct status){
		.version = "0.1", .name = "shop", .app = "wsgi shop:app", .pid = 1000,
		.state = MS_RUNNING, .target_workers = 1, .workers = workers, .n_workers = 2,
		.cgroup = {
			.known = true, .dir = "/sys/fs/cgroup/a", .limit_file = "memory.max",
			.limit_bytes = 400 * MB, .used_bytes = 100 * MB, .current_bytes = 150 * MB,
			.split_known = true, .anon_bytes = 80 * MB, .file_bytes = 60 * MB,
			.kernel_bytes = 5 * MB, .other_bytes = 2 * MB, .sock_known = true,
			.sock_is_in_current = true, .sock_bytes = 3 * MB,
		},
	};
}

static json_t *
cgroup_of(json_t *o)
{
	ck_assert_ptr_nonnull(o);
	return json_object_get(json_object_get(o, "memory"), "cgroup");
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
	json_t *o = status_to_json(&s), *c = cgroup_of(o);

	check_number(c, "limit_bytes", 400 << 20);
	check_number(c, "used_bytes", 100 << 20);
	check_number(c, "current_bytes", 150 << 20);
	check_number(c, "anon_bytes", 80 << 20);
	check_number(c, "file_bytes", 60 << 20);
	check_number(c, "sock_bytes", 3 << 20);
	ck_assert(json_is_true(json_object_get(c, "sock_in_current")));
	check_number(c, "kernel_bytes", 5 << 20);
	check_number(c, "other_bytes", 2 << 20);
	check_number(c, "swap_bytes", 0);
	ck_assert_str_eq(json_string_value(json_object_get(c, "limit_file")), "memory.max");
	ck_assert_str_eq(json_string_value(json_object_get(c, "path")), "/sys/fs/cgroup/a");
	ck_assert(json_is_null(json_object_get(c, "rise")));
	check_number(json_array_get(json_object_get(o, "workers"), 0), "peak_rss_bytes", 120 << 20);
	json_decref(o);
}
END_TEST

START_TEST(json_of_less)
{
	json_t *o, *c;

	s.cgroup.limit_file = NULL;
	s.cgroup.sock_known = false;
	workers[0].peak_rss_bytes = 0;
	o = status_to_json(&s);
	c = cgroup_of(o);
	check_number(c, "limit_bytes", -1);
	check_number(c, "sock_bytes", -1);
	ck_assert(json_is_null(json_object_get(c, "sock_in_current")));
	check_number(c, "anon_bytes", 80 << 20);
	ck_assert(json_is_null(json_object_get(c, "limit_file")));
	check_number(json_array_get(json_object_get(o, "workers"), 0), "peak_rss_bytes", -1);
	json_decref(o);
	s.cgroup.split_known = false;
	o = status_to_json(&s);
	c = cgroup_of(o);
	check_number(c, "used_bytes", 100 << 20);
	check_number(c, "anon_bytes", -1);
	check_number(c, "file_bytes", -1);
	check_number(c, "kernel_bytes", -1);
	check_number(c, "other_bytes", -1);
	check_number(c, "swap_bytes", -1);
	json_decref(o);
	s.cgroup.known = false;
	o = status_to_json(&s);
	ck_assert(json_is_null(cgroup_of(o)));
	json_decref(o);
}
END_TEST

START_TEST(rise)
{
	json_t *o, *r;
	AUTO_FREE char *text = NULL;

	s.cgroup.rise = "sock";
	s.cgroup.rise_text = "socket buffers \033[31m grew";
	s.cgroup.rise_from_bytes = MB;
	s.cgroup.rise_bytes = 3 * MB;
	s.cgroup.rise_ms = 61500;
	o = status_to_json(&s);
	r = json_object_get(cgroup_of(o), "rise");
	ck_assert_str_eq(json_string_value(json_object_get(r, "part")), "sock");
	check_number(r, "from_bytes", 1 << 20);
	check_number(r, "bytes", 3 << 20);
	ck_assert(json_real_value(json_object_get(r, "seconds")) == 61.5);
	json_decref(o);
	text = print();
	expect(text, "\n! socket buffers ", true);
	expect(text, "\033", false);
}
END_TEST

START_TEST(for_people)
{
	AUTO_FREE char *text = print(), *full = NULL, *none = NULL, *less = NULL, *out = NULL;
	AUTO_FREE char *v1 = NULL;

	expect(text, "\ncgroup: 100.0M of 400.0M (25 %); heaps 80.0M, files 60.0M, sockets 3.0M, "
	    "kernel\n  5.0M, other 2.0M\n", true);
	expect(text, ", swapped out", false);
	s.cgroup.sock_is_in_current = false;
	v1 = print();
	expect(v1, "kernel 5.0M, other\n  2.0M, beside it sockets 3.0M\n", true);
	s.cgroup.swap_bytes = 7 * MB;
	s.cgroup.used_bytes = 370 * MB;
	full = print();
	expect(full, "\n! cgroup: 370.0M of 400.0M (92 %)", true);
	expect(full, "sockets 3.0M, swapped out 7.0M\n", true);
	s.cgroup.limit_file = NULL;
	none = print();
	expect(none, "\ncgroup: 370.0M, no limit; heaps", true);
	s.cgroup.split_known = false;
	less = print();
	expect(less, "\ncgroup: 370.0M, no limit\n", true);
	s.cgroup.known = false;
	out = print();
	expect(out, "cgroup", false);
}
END_TEST

START_TEST(for_metrics)
{
	AUTO_FREE char *text = print(), *less = NULL;

	expect(text, "\npreforkd_cgroup_memory_limit_bytes 419430400\n", true);
	expect(text, "\npreforkd_cgroup_memory_used_bytes 104857600\n", true);
	expect(text, "\npreforkd_cgroup_memory_current_bytes 157286400\n", true);
	expect(text, "\npreforkd_cgroup_memory_anon_bytes 83886080\n", true);
	expect(text, "\npreforkd_cgroup_memory_file_bytes 62914560\n", true);
	expect(text, "\npreforkd_cgroup_memory_sock_bytes 3145728\n", true);
	expect(text, "\npreforkd_cgroup_memory_kernel_bytes 5242880\n", true);
	expect(text, "\npreforkd_cgroup_memory_other_bytes 2097152\n", true);
	expect(text, "\npreforkd_cgroup_memory_swap_bytes 0\n", true);
	/* the slot's two workers together; but peaks of two moments make no sum */
	expect(text, "\npreforkd_worker_swap_bytes{slot=\"1\"} 4194304\n", true);
	expect(text, "\npreforkd_worker_as_bytes{slot=\"1\"} 1468006400\n", true);
	expect(text, "\npreforkd_worker_peak_rss_bytes{slot=\"1\"} 125829120\n", true);
	s.cgroup.limit_file = NULL;
	s.cgroup.sock_known = false;
	workers[0].footprint_known = workers[1].footprint_known = false;
	less = print();
	expect(less, "preforkd_cgroup_memory_limit_bytes", false);
	expect(less, "preforkd_cgroup_memory_sock_bytes", false);
	expect(less, "preforkd_cgroup_memory_anon_bytes 83886080\n", true);
	expect(less, "preforkd_worker_swap_bytes{", false);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("all");

	tcase_add_checked_fixture(tc, set_up, NULL);
	tcase_add_test(tc, json);
	tcase_add_test(tc, json_of_less);
	tcase_add_test(tc, rise);
	tcase_add_test(tc, for_people);
	tcase_add_test(tc, for_metrics);
	return run_case("status_cgroup", tc);
}
