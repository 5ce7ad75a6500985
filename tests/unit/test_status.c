/*
 * test_status.c - names in the JSON, the table for a person, the metrics.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/status.h"

#include "base/buf.h"

#include "run_case.h"

#include <check.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const addresses[] = { "127.0.0.1:8000", "unix:/run/shop.sock" };

static struct status_worker workers[] = {
	{
		.slot = 1, .pid = 1001, .worker_id = 1, .serial = 17, .generation = 3,
		.state = WS_READY, .requests = 479, .in_flight = 2, .oldest_request_ms = 7000,
		.rss_bytes = 100u << 20, .as_bytes = 200u << 20, .fds = 9, .age_ms = 61500,
		.ready_ms = 250, .max_requests = 480, .last_reason = REASON_MAX_REQUESTS,
		.server = "uvicorn 0.17.6",
	}, {
		.slot = 2, .pid = 1004, .worker_id = 3, .serial = 20, .generation = 3,
		.state = WS_STARTING, .is_successor = true, .age_ms = 100,
		.fds_unavailable = true, .fds = 4,
	}, {
		.slot = 2, .pid = 1002, .worker_id = 2, .serial = 18, .generation = 2,
		.state = WS_READY, .requests = 7, .in_flight = 1, .rss_bytes = 50u << 20,
		.age_ms = 3600000, .reason = REASON_RSS, .agent_lost = true,
		.status = "a\x1b[31m red \xff" "status",
	}, {
		.slot = 3, .state = WS_BACKOFF, .next_attempt_ms = 3000,
		.last_reason = REASON_REQUEST_TIMEOUT,
	},
};

static struct status
make_status(void)
{
	struct status s = {
		.version = "0.1", .name = "shop", .app = "wsgi shop:app", .pid = 1000,
		.state = MS_RUNNING, .generation = 3, .uptime_ms = 7512345,
		.listen = addresses, .n_listen = ARRAY_LEN(addresses),
		.target_workers = 3, .workers = workers, .n_workers = ARRAY_LEN(workers),
		.crashes = 4, .oom_kills = 1, .boot_failures = 2, .requests_total = 123456,
	};

	s.recycles[REASON_MAX_REQUESTS] = 12;
	s.recycles[REASON_OOM] = 1;
	s.recycles[REASON_CRASH] = 99;
	s.recycles[REASON_STOP] = 99;
	s.last_reload = (struct status_reload){
		.any = true, .ok = false, .generation = 3, .ago_ms = 200000, .took_ms = 900,
		.error = "shop.py:3: SyntaxError",
	};
	return s;
}

static json_t *
to_json(const struct status *s)
{
	json_t *o = status_to_json(s);

	ck_assert_ptr_nonnull(o);
	return o;
}

START_TEST(fixed_names)
{
	static const char *const top[] = { "version", "pid", "state", "generation",
		"uptime_seconds", "listen", "sockets", "workers", "recycles", "crashes", "oom_kills",
		"last_reload", "governor" };
	static const char *const each[] = { "slot", "pid", "serial", "generation", "state",
		"requests", "in_flight", "rss_bytes", "uss_bytes", "pss_bytes", "age_seconds",
		"max_requests", "last_reason" };
	struct status s = make_status();
	json_t *o = to_json(&s);

	for (size_t i = 0; i < ARRAY_LEN(top); i++)
		ck_assert_msg(json_object_get(o, top[i]) != NULL, "no '%s'", top[i]);
	for (size_t w = 0; w < ARRAY_LEN(workers); w++) {
		json_t *worker = json_array_get(json_object_get(o, "workers"), w);

		for (size_t i = 0; i < ARRAY_LEN(each); i++)
			ck_assert_msg(json_object_get(worker, each[i]) != NULL,
			    "worker %zu: no '%s'", w, each[i]);
	}
	json_decref(o);
}
END_TEST

START_TEST(values)
{
	struct status s = make_status();
	json_t *o = to_json(&s);
	json_t *w = json_object_get(o, "workers");
	AUTO_FREE char *text = NULL;

	ck_assert_str_eq(json_string_value(json_object_get(o, "state")), "running");
	ck_assert_double_eq(json_real_value(json_object_get(o, "uptime_seconds")), 7512.345);
	ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(w, 0), "rss_bytes")),
	    100 << 20);
	ck_assert(json_is_null(json_object_get(json_array_get(w, 0), "uss_bytes")));
	ck_assert(json_is_null(json_object_get(json_array_get(w, 1), "fds")));
	ck_assert(json_is_null(json_object_get(json_array_get(w, 1), "rss_bytes")));
	ck_assert(json_is_null(json_object_get(json_array_get(w, 3), "pid")));
	ck_assert_str_eq(json_string_value(json_object_get(json_array_get(w, 2), "reason")),
	    "reload-on-rss");
	ck_assert_str_eq(json_string_value(json_object_get(json_array_get(w, 2), "status")),
	    "a\x1b[31m red ?status");
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(o, "last_reload"),
	    "state")), "failed");
	text = json_dumps(o, 0);
	ck_assert_ptr_nonnull(text);
	json_decref(o);
}
END_TEST

START_TEST(every_reason_but_two)
{
	struct status s = make_status();
	json_t *o = to_json(&s);
	json_t *recycles = json_object_get(o, "recycles");

	for (enum reason r = 0; r < REASON_N; r++) {
		bool is_there = json_object_get(recycles, reason_name(r)) != NULL;

		ck_assert_msg(is_there == (r != REASON_NONE && r != REASON_STOP &&
		    r != REASON_CRASH), "%s", reason_name(r));
	}
	json_decref(o);
}
END_TEST

/* No line is wider than width, and none holds anything but printable ASCII. */
static void
check_lines(const char *text, size_t width)
{
	for (const char *line = text; *line != '\0';) {
		size_t len = strcspn(line, "\n");

		ck_assert_msg(len <= width, "%zu columns: %.*s", len, (int)len, line);
		for (size_t i = 0; i < len; i++)
			ck_assert_msg(isprint((unsigned char)line[i]), "%#x in: %.*s",
			    (unsigned char)line[i], (int)len, line);
		line += len + (line[len] == '\n');
	}
}

static void
expect_in(const char *text, const char *part)
{
	ck_assert_msg(strstr(text, part) != NULL, "no '%s' in:\n%s", part, text);
}

START_TEST(table)
{
	struct status s = make_status();
	json_t *o = to_json(&s);
	AUTO_BUF struct buf b = BUF_INIT(1u << 20);
	static const char *const parts[] = {
		"shop: running, generation 3", "wsgi shop:app on 127.0.0.1:8000", "2 of 3 workers",
		"12 max-requests", "1 oom", "4 crashed", "the last reload failed",
		"shop.py:3: SyntaxError", "SLOT", "NOTE", "recycle at 480", "next try in 3",
		"after request-timeout", "successor", "to be replaced: reload-on-rss",
		"a request runs for 7", "agent lost", "\\x1b[31m",
	};

	ck_assert_int_eq(status_print_table(o, 400, &b), 0);
	check_lines(b.data, 400);
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		expect_in(b.data, parts[i]);
	ck_assert_ptr_null(strstr(b.data, "99"));
	buf_clear(&b);
	ck_assert_int_eq(status_print_table(o, 0, &b), 0);
	check_lines(b.data, 80);
	json_decref(o);
}
END_TEST

START_TEST(table_of_trouble)
{
	struct status s = make_status();
	AUTO_BUF struct buf b = BUF_INIT(1u << 20);
	json_t *o;

	s.governor = (struct status_governor){
		.starting = 1, .queued = 2, .waiting = "no memory for a successor",
		.code_bad = true, .next_probe_ms = 45000, .roll_stalled = true,
		.dry_run = true, .dry_run_would = 41,
		.futile = { { "reload-on-rss", 100u << 20, 120u << 20, 180u << 20 } },
		.n_futile = 1,
	};
	s.last_reload.running = true;
	o = to_json(&s);
	ck_assert_int_eq(status_print_table(o, 400, &b), 0);
	expect_in(b.data, "a reload is under way");
	expect_in(b.data, "waiting: no memory");
	expect_in(b.data, "code on disk does not boot");
	expect_in(b.data, "in 45");
	expect_in(b.data, "roll to the new generation has stopped");
	expect_in(b.data, "reload-on-rss = 100");
	expect_in(b.data, "120");
	expect_in(b.data, "180");
	expect_in(b.data, "41 recycles");
	json_decref(o);
}
END_TEST

START_TEST(table_of_giants)
{
	AUTO_FREE char *name = malloc(70001);
	AUTO_BUF struct buf b = BUF_INIT(1u << 20);
	struct status_worker w = {
		.slot = UINT32_MAX, .pid = INT32_MAX, .serial = UINT64_MAX,
		.generation = UINT32_MAX,
		.state = WS_DRAINING, .requests = UINT64_MAX, .in_flight = UINT64_MAX,
		.rss_bytes = UINT64_MAX, .age_ms = UINT64_MAX, .oldest_request_ms = UINT64_MAX,
		.reason = REASON_EVIL_RSS,
	};
	struct status s = make_status();
	json_t *o;

	ck_assert_ptr_nonnull(name);
	memset(name, 'x', 70000);
	name[70000] = '\0';
	s.app = name;
	s.name = name;
	s.workers = &w;
	s.n_workers = 1;
	w.status = name;
	o = to_json(&s);
	ck_assert_int_eq(status_print_table(o, 80, &b), 0);
	expect_in(b.data, "evil-reload-on-rss");
	check_lines(b.data, 120);	/* the numbers themselves are that wide */
	buf_clear(&b);
	ck_assert_int_eq(status_print_metrics(o, METRICS_OPENMETRICS, &b), 0);
	json_decref(o);
}
END_TEST

START_TEST(table_of_long_words)
{
	struct status s = make_status();
	AUTO_BUF struct buf b = BUF_INIT(1u << 20);
	char app[3001];
	json_t *o;

	memset(app, 'x', 3000);
	app[3000] = '\0';
	s.app = app;
	workers[0].status = app;
	o = to_json(&s);
	ck_assert_int_eq(status_print_table(o, 80, &b), 0);
	check_lines(b.data, 80);
	workers[0].status = NULL;
	json_decref(o);
}
END_TEST

/* Every sample belongs to the family declared last, and no label set occurs twice. */
static void
check_metrics(char *text, enum metrics_format format)
{
	static char seen[400][128];
	char family[128] = "", type[32] = "";
	size_t n = 0;
	bool ended = false;

	for (char *save, *line = strtok_r(text, "\n", &save); line != NULL;
	    line = strtok_r(NULL, "\n", &save)) {
		size_t len = strcspn(line, "{ "), label = strcspn(line, " "), f;

		ck_assert_msg(!ended, "after the end: %s", line);
		if (strncmp(line, "# HELP ", 7) == 0)
			continue;
		if (strncmp(line, "# TYPE ", 7) == 0) {
			ck_assert_int_eq(sscanf(line + 7, "%127s %31s", family, type), 2);
			continue;
		}
		if (strcmp(line, "# EOF") == 0) {
			ended = true;
			continue;
		}
		f = strlen(family);
		ck_assert_msg(strncmp(line, family, f) == 0, "%s is not of %s", line, family);
		if (strcmp(type, "counter") == 0 && format == METRICS_OPENMETRICS)
			ck_assert_msg(len == f + 6 && strncmp(line + f, "_total", 6) == 0, "%s",
			    line);
		else
			ck_assert_msg(len == f, "%s is not of %s", line, family);
		ck_assert_ptr_null(strstr(line, "pid"));
		ck_assert_uint_lt(n, ARRAY_LEN(seen));
		snprintf(seen[n], sizeof(seen[n]), "%.*s", (int)label, line);
		for (size_t i = 0; i < n; i++)
			ck_assert_msg(strcmp(seen[i], seen[n]) != 0, "twice: %s", line);
		n++;
	}
	ck_assert_msg(ended == (format == METRICS_OPENMETRICS), "# EOF");
	ck_assert_uint_gt(n, 40);
}

START_TEST(metrics)
{
	enum metrics_format format = _i == 0 ? METRICS_OPENMETRICS : METRICS_TEXT;
	struct status s = make_status();
	json_t *o = to_json(&s);
	AUTO_BUF struct buf b = BUF_INIT(1u << 20);

	ck_assert_int_eq(status_print_metrics(o, format, &b), 0);
	expect_in(b.data, "\npreforkd_up 1\n");
	expect_in(b.data, "\npreforkd_workers{state=\"ready\"} 2\n");
	expect_in(b.data, "\npreforkd_recycles_total{reason=\"max-requests\"} 12\n");
	expect_in(b.data, "\npreforkd_recycles_total{reason=\"scale\"} 0\n");
	expect_in(b.data, "\npreforkd_oom_kills_total 1\n");
	expect_in(b.data, "\npreforkd_last_reload_successful 0\n");
	expect_in(b.data, "\npreforkd_worker_rss_bytes{slot=\"1\"} 104857600\n");
	/* the serving worker's, not its successor's */
	expect_in(b.data, "\npreforkd_worker_requests{slot=\"2\"} 7\n");
	expect_in(b.data, "\npreforkd_worker_age_seconds{slot=\"2\"} 3600.000\n");
	check_metrics(b.data, format);
	json_decref(o);
}
END_TEST

START_TEST(line)
{
	static const struct {
		uint64_t target;
		double rate;
		const char *want;
	} cases[] = {
		{ 2, 12.4, "2 workers, 12 requests/s, " },
		{ 3, 0.0, "2/3 workers, 0 requests/s, " },
		{ 2, 0.25, "2 workers, 0.2 requests/s, " },
		{ 1, 9.97, "2/1 worker, 10 requests/s, " },
	};
	struct status s = make_status();

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO_BUF struct buf b = BUF_INIT(128);

		s.target_workers = cases[i].target;
		status_print_line(&s, cases[i].rate, &b);
		ck_assert_msg(strncmp(b.data, cases[i].want, strlen(cases[i].want)) == 0, "%s",
		    b.data);
		expect_in(b.data, "150");
	}
}
END_TEST

START_TEST(no_status)
{
	static const char *const texts[] = { "{}", "[]", "1", "{\"state\":\"running\"}",
		"{\"workers\":[]}", "{\"state\":1,\"workers\":[]}",
		"{\"state\":\"\",\"workers\":{}}" };
	AUTO_BUF struct buf b = BUF_INIT(1u << 16);

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		json_t *o = json_loads(texts[i], JSON_DECODE_ANY, NULL);

		ck_assert_msg(status_print_table(o, 80, &b) == -EINVAL, "%s", texts[i]);
		ck_assert_msg(status_print_metrics(o, METRICS_TEXT, &b) == -EINVAL, "%s", texts[i]);
		json_decref(o);
	}
	ck_assert_int_eq(status_print_table(NULL, 80, &b), -EINVAL);
	ck_assert_uint_eq(b.len, 0);
}
END_TEST

/* Of an older or newer master: members are missing or of other types. */
START_TEST(odd_status)
{
	static const char *const texts[] = {
		"{\"state\":\"running\",\"workers\":[]}",
		"{\"state\":\"\\u001b[2J\",\"workers\":[1,{},"
		"{\"slot\":-4,\"state\":\"\\u001b\\u00e4\"}],"
		"\"listen\":{},\"recycles\":[1],\"last_reload\":3,\"governor\":\"x\"}",
		"{\"state\":\"x\",\"workers\":[{\"slot\":\"one\",\"pid\":1.5,\"age_seconds\":1e300,"
		"\"oldest_request_seconds\":-7,\"state\":null}],\"listen\":[1,null],"
		"\"recycles\":{\"a\\nb\\\"\":5},\"uptime_seconds\":\"long\"}",
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		AUTO_BUF struct buf b = BUF_INIT(1u << 16);
		json_t *o = json_loads(texts[i], 0, NULL);

		ck_assert_ptr_nonnull(o);
		ck_assert_msg(status_print_table(o, 80, &b) == 0, "%s", texts[i]);
		check_lines(b.data, 80);
		ck_assert_msg(status_print_metrics(o, METRICS_OPENMETRICS, &b) == 0, "%s",
		    texts[i]);
		json_decref(o);
	}
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("core");

	tcase_add_test(tc, fixed_names);
	tcase_add_test(tc, values);
	tcase_add_test(tc, every_reason_but_two);
	tcase_add_test(tc, table);
	tcase_add_test(tc, table_of_trouble);
	tcase_add_test(tc, table_of_giants);
	tcase_add_test(tc, table_of_long_words);
	tcase_add_loop_test(tc, metrics, 0, 2);
	tcase_add_test(tc, line);
	tcase_add_test(tc, no_status);
	tcase_add_test(tc, odd_status);
	return run_case("status", tc);
}
