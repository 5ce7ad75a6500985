/*
 * test_status_sockets.c - accept queues in the JSON, the table and the metrics.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/status.h"

#include "base/buf.h"
#include "run_case.h"
#include "status_expect.h"

#include <check.h>
#include <string.h>

static const char *const addresses[] = { "127.0.0.1:8000" };

static json_t *
make(const struct status_socket *sockets, size_t n)
{
	const struct status s = {
		.version = "0.1", .name = "shop", .app = "asgi shop:app", .pid = 1000,
		.state = MS_RUNNING, .listen = addresses, .n_listen = ARRAY_LEN(addresses),
		.sockets = sockets, .n_sockets = n,
	};
	json_t *o = status_to_json(&s);

	ck_assert_ptr_nonnull(o);
	return o;
}

START_TEST(json)
{
	static const struct status_socket sockets[] = {
		{ .address = "127.0.0.1:8000", .slot = 1, .known = true, .backlog = 2048 },
		{ .address = "127.0.0.1:8000", .slot = 2, .known = true, .queue = 37,
		    .backlog = 2048 },
		{ .address = "[::1]:80", .known = true, .queue = 3, .backlog = 5 },
		{ .address = "unix:/run/shop.sock", .queue = 7, .backlog = 8 },
	};
	static const json_int_t want[][3] = {
		{ 1, 0, 2048 }, { 2, 37, 2048 }, { -1, 3, 5 }, { -1, -1, -1 },
	};
	json_t *o = make(sockets, ARRAY_LEN(sockets)), *list = json_object_get(o, "sockets");

	ck_assert_uint_eq(json_array_size(list), ARRAY_LEN(want));
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		const json_t *s = json_array_get(list, i);

		ck_assert_str_eq(json_string_value(json_object_get(s, "address")),
		    sockets[i].address);
		check_number(s, "slot", want[i][0]);
		check_number(s, "queue", want[i][1]);
		check_number(s, "backlog", want[i][2]);
		ck_assert_uint_eq(json_object_size(s), 4);
	}
	json_decref(o);
}
END_TEST

#define A "127.0.0.1:8000"
#define B "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535"
#define SOCKETS_MAX 3

static const struct {
	struct status_socket sockets[SOCKETS_MAX];
	const char *want;		/* the whole line in 80 columns, NULL: none */
} lines[] = {
	{ { { A, 1, true, 0, 2048 }, { A, 2, true, 0, 2048 } }, NULL },
	{ { { A, 0, false, 5, 5 } }, NULL },
	{ { { A, 0, true, 0, 0 } }, NULL },
	{ { { A, 0, true, 1, 2048 } }, "queue: " A ": 1 of 2048 wait" },
	{ { { A, 1, true, 0, 2048 }, { A, 2, true, 37, 2048 } },
	    "queue: " A " slot 2: 37 of 2048 wait" },
	{ { { A, 1, true, 3, 2048 }, { A, 2, true, 37, 2048 } },
	    "queue: " A " slot 2: 37 of 2048 wait, 3 at 1 other" },
	{ { { A, 1, true, 1, 2048 }, { A, 2, true, 2, 2048 }, { A, 3, true, 5, 2048 } },
	    "queue: " A " slot 3: 5 of 2048 wait, 3 at 2 others" },
	/* not the longest, but the fullest */
	{ { { A, 0, true, 100, 2048 }, { B, 0, true, 8, 10 } },
	    "queue: " B ": 8 of 10 wait, 100 at 1\n  other" },
	{ { { A, 0, true, 9, 10 } }, "! queue: " A ": 9 of 10 wait" },
	{ { { A, 0, true, 1844, 2048 } }, "! queue: " A ": 1844 of 2048 wait" },
	{ { { A, 0, true, 1843, 2048 } }, "queue: " A ": 1843 of 2048 wait" },
	/* a listener of systemd that many share, by two descriptors */
	{ { { A, 0, true, 2, 10 }, { B, 0, true, 1, 10 }, { A, 0, true, 3, 10 } },
	    "queue: " A ": 5 of 20 wait, 1 at 1 other" },
};

START_TEST(table)
{
	AUTO_BUF struct buf b = BUF_INIT(1u << 16);
	const char *line;
	size_t n = 0;
	json_t *o;

	while (n < SOCKETS_MAX && lines[_i].sockets[n].address != NULL)
		n++;
	o = make(lines[_i].sockets, n);
	ck_assert_int_eq(status_print_table(o, 80, &b), 0);
	json_decref(o);
	line = strstr(b.data, "queue");
	if (line != NULL && line > b.data + 1 && line[-2] == '!')
		line -= 2;
	if (lines[_i].want == NULL) {
		ck_assert_msg(line == NULL, "%s", b.data);
		return;
	}
	ck_assert_msg(line != NULL && line[-1] == '\n' &&
	    strncmp(line, lines[_i].want, strlen(lines[_i].want)) == 0 &&
	    line[strlen(lines[_i].want)] == '\n', "no '%s' in:\n%s", lines[_i].want, b.data);
}
END_TEST

START_TEST(metrics)
{
	static const struct status_socket sockets[] = {
		{ B, 0, true, 1, 10 }, { A, 2, true, 37, 2048 }, { A, 1, true, 0, 2048 },
		{ "unix:/run/a\"b", 0, false, 0, 0 }, { B, 0, true, 3, 10 },
		{ "unix:/run/a\"b", 0, true, 4, 9 },
	};
	static const char want[] =
	    "# HELP preforkd_accept_queue Connections that wait to be accepted.\n"
	    "# TYPE preforkd_accept_queue gauge\n"
	    "preforkd_accept_queue{address=\"" A "\",slot=\"1\"} 0\n"
	    "preforkd_accept_queue{address=\"" A "\",slot=\"2\"} 37\n"
	    "preforkd_accept_queue{address=\"" B "\"} 4\n"
	    "preforkd_accept_queue{address=\"unix:/run/a\\\"b\"} 4\n"
	    "# HELP preforkd_accept_backlog How many may wait.\n"
	    "# TYPE preforkd_accept_backlog gauge\n"
	    "preforkd_accept_backlog{address=\"" A "\",slot=\"1\"} 2048\n"
	    "preforkd_accept_backlog{address=\"" A "\",slot=\"2\"} 2048\n"
	    "preforkd_accept_backlog{address=\"" B "\"} 20\n"
	    "preforkd_accept_backlog{address=\"unix:/run/a\\\"b\"} 9\n";
	enum metrics_format format = _i == 0 ? METRICS_OPENMETRICS : METRICS_TEXT;
	json_t *o = make(sockets, ARRAY_LEN(sockets));
	AUTO_BUF struct buf b = BUF_INIT(1u << 16);

	ck_assert_int_eq(status_print_metrics(o, format, &b), 0);
	ck_assert_msg(strstr(b.data, want) != NULL, "%s", b.data);
	json_decref(o);
}
END_TEST

/* Of an older or newer master: members are missing or of other types. */
START_TEST(odd)
{
	static const char *const sockets[] = {
		"null", "7", "{}", "[]", "[3,null,[]]", "[{}]",
		"[{\"address\":\"x\"}]", "[{\"address\":1,\"queue\":1,\"backlog\":1}]",
		"[{\"address\":\"x\",\"queue\":\"1\",\"backlog\":1}]",
		"[{\"address\":\"x\",\"queue\":1,\"backlog\":null}]",
	};

	for (size_t i = 0; i < ARRAY_LEN(sockets); i++) {
		AUTO_BUF struct buf b = BUF_INIT(1u << 16);
		json_t *o = make(NULL, 0);

		ck_assert_int_eq(json_object_set_new(o, "sockets", json_loads(sockets[i],
		    JSON_DECODE_ANY, NULL)), 0);
		ck_assert_msg(status_print_table(o, 80, &b) == 0, "%s", sockets[i]);
		ck_assert_msg(status_print_metrics(o, METRICS_TEXT, &b) == 0, "%s", sockets[i]);
		ck_assert_msg(strstr(b.data, "queue{") == NULL, "%s: %s", sockets[i], b.data);
		ck_assert_msg(strstr(b.data, "queue:") == NULL, "%s: %s", sockets[i], b.data);
		json_decref(o);
	}
}
END_TEST

START_TEST(harmless)
{
	AUTO_BUF struct buf b = BUF_INIT(1u << 16);
	json_t *o = json_loads("{\"state\":\"x\",\"workers\":[],\"sockets\":[{\"address\":"
	    "\"\\u001b[2J\",\"slot\":-3,\"queue\":9223372036854775807,\"backlog\":-1},"
	    "{\"address\":\"y\",\"slot\":9223372036854775807,\"queue\":9223372036854775807,"
	    "\"backlog\":9223372036854775807}]}", 0, NULL);

	ck_assert_ptr_nonnull(o);
	ck_assert_int_eq(status_print_table(o, 80, &b), 0);
	for (size_t i = 0; i < b.len; i++)
		ck_assert_msg(b.data[i] == '\n' || (b.data[i] >= ' ' && b.data[i] < 0x7f), "%s",
		    b.data);
	ck_assert_int_eq(status_print_metrics(o, METRICS_OPENMETRICS, &b), 0);
	json_decref(o);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("core");

	tcase_add_test(tc, json);
	tcase_add_loop_test(tc, table, 0, ARRAY_LEN(lines));
	tcase_add_loop_test(tc, metrics, 0, 2);
	tcase_add_test(tc, odd);
	tcase_add_test(tc, harmless);
	return run_case("status_sockets", tc);
}
