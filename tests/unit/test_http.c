/*
 * test_http.c - preforkd-http's pages, and its connection to a master that hangs.
 *
 * The master is the other end of a socket pair. Its answers are written before they are
 * asked for where the order allows, so that one thread is enough.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/pages.h"

#include "base/io.h"
#include "model/varlink.h"

#include "run_case.h"

#include <check.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static int master;
static int ends[2];
static struct upstream up;

static void
setup(void)
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	master = ends[0];
	upstream_init(&up, ends[1]);
	up.timeout_ms = 2000;
}

static void
teardown(void)
{
	upstream_fini(&up);
	if (master >= 0)
		close(master);
	close(ends[1]);
}

static void
answer(const char *message)
{
	ck_assert_int_eq(io_send(master, message, strlen(message) + 1, io_deadline(1000)), 0);
}

/* How many calls the master has been sent since the last time. */
static unsigned
count_calls(void)
{
	AUTO_BUF struct buf in = BUF_INIT(65536);
	json_t *call;
	unsigned n = 0;

	(void)io_recv(master, &in, 0);
	while (varlink_take(&in, VARLINK_REQUEST_MAX, &call) > 0) {
		json_decref(call);
		n++;
	}
	ck_assert_uint_eq(in.len, 0);
	return n;
}

#define STATUS(state, workers) "{\"parameters\":{\"status\":{\"state\":\"" state "\"," \
	"\"target_workers\":2,\"workers\":[" workers "]}}}"
#define READY "{\"slot\":1,\"pid\":7,\"state\":\"ready\"}"
#define BOOTS "{\"slot\":2,\"pid\":8,\"state\":\"starting\"}"
#define FAILED "{\"error\":\"io.preforkd.Manager.Refused\",\"parameters\":{\"reason\":\"x\"}}"

/* message: what the master answers, NULL: it is not to be asked. */
static const struct {
	const char *method, *path, *accept, *message;
	unsigned code;
	const char *type, *part;
} cases[] = {
	{ "GET", "/livez", NULL, "{\"parameters\":{}}", 200, "text/plain", "answers" },
	{ "HEAD", "/livez", NULL, "{\"parameters\":{}}", 200, "text/plain", "answers" },
	{ "GET", "/livez", NULL, "{}", 200, "text/plain", "answers" },
	{ "GET", "/livez", NULL, FAILED, 503, "text/plain", "cannot be asked" },
	{ "GET", "/readyz", NULL, STATUS("running", READY "," BOOTS), 200, "text/plain", "1 of 2" },
	{ "GET", "/readyz", NULL, STATUS("starting", READY), 200, "text/plain", "1 of 2" },
	{ "GET", "/readyz", NULL, STATUS("stopping", READY), 503, "text/plain", "stopping" },
	{ "GET", "/readyz", NULL, STATUS("running", BOOTS), 503, "text/plain", "no worker" },
	{ "GET", "/readyz", NULL, STATUS("running", ""), 503, "text/plain", "no worker" },
	{ "GET", "/readyz", NULL, "{\"parameters\":{}}", 503, "text/plain", "not understood" },
	{ "GET", "/readyz", NULL, "{\"parameters\":{\"status\":[]}}", 503, "text/plain",
	    "not understood" },
	{ "GET", "/readyz", NULL, FAILED, 503, "text/plain", "cannot be asked" },
	{ "GET", "/status", NULL, STATUS("running", READY), 200, "application/json",
	    "\"target_workers\": 2" },
	{ "GET", "/metrics", NULL, STATUS("running", READY), 200, "text/plain; version=0.0.4",
	    "# TYPE preforkd_crashes_total counter" },
	{ "GET", "/metrics", "*/*", STATUS("running", READY), 200, "text/plain; version=0.0.4",
	    "preforkd_up 1" },
	{ "GET", "/metrics", "application/openmetrics-text;version=1.0.0,"
	    "application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5",
	    STATUS("running", READY), 200, "application/openmetrics-text; version=1.0.0", "# EOF" },
	{ "GET", "/metrics", "text/plain, Application/OpenMetrics-Text; q=0.1",
	    STATUS("running", READY), 200, "application/openmetrics-text", "# EOF" },
	{ "GET", "/metrics", "application/openmetrics-text;q=0,text/plain",
	    STATUS("running", READY), 200, "text/plain; version=0.0.4", "preforkd_up 1" },
	{ "GET", "/metrics", "application/openmetrics-text; q=0.00", STATUS("running", READY), 200,
	    "text/plain; version=0.0.4", "preforkd_up 1" },
	{ "GET", "/metrics", NULL, "{\"parameters\":{\"status\":{}}}", 503, "text/plain",
	    "not understood" },
	{ "POST", "/livez", NULL, NULL, 405, "text/plain", "only GET" },
	{ "PUT", "/status", NULL, NULL, 405, "text/plain", "only GET" },
	{ "GET", "/", NULL, NULL, 404, "text/plain", "/readyz" },
	{ "GET", "/status/", NULL, NULL, 404, "text/plain", "/readyz" },
	{ "POST", "/nothing", NULL, NULL, 404, "text/plain", "/readyz" },
};

START_TEST(pages)
{
	struct page page;

	/* As if it had been received while it was waited for. */
	if (cases[_i].message != NULL)
		ck_assert_int_eq(buf_append(&up.in, cases[_i].message,
		    strlen(cases[_i].message) + 1), 0);
	page_make(&up, cases[_i].method, cases[_i].path, cases[_i].accept, &page);
	ck_assert_uint_eq(page.code, cases[_i].code);
	ck_assert_msg(strncmp(page.type, cases[_i].type, strlen(cases[_i].type)) == 0, "%s",
	    page.type);
	ck_assert_msg(strstr(page.body.data, cases[_i].part) != NULL, "%s", page.body.data);
	ck_assert((page.allow != NULL) == (page.code == 405));
	page_free(&page);
	ck_assert_uint_eq(count_calls(), cases[_i].message != NULL);
}
END_TEST

START_TEST(hung_master)
{
	uint64_t begin;
	json_t *got;

	up.timeout_ms = 100;
	ck_assert_int_eq(upstream_call(&up, "Status", &got), -ETIMEDOUT);
	ck_assert_uint_eq(count_calls(), 1);
	/* it is asked no more, and nobody waits again */
	up.timeout_ms = 60000;
	begin = io_now_ms();
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(upstream_call(&up, "Ping", &got), -ETIMEDOUT);
	ck_assert_uint_lt(io_now_ms() - begin, 30000);
	ck_assert_uint_eq(count_calls(), 0);

	/* the late answer and that of the next call, in one go */
	answer("{\"parameters\":{\"late\":1}}");
	answer("{\"parameters\":{\"late\":0}}");
	ck_assert_int_eq(upstream_call(&up, "Status", &got), 0);
	ck_assert_int_eq(json_integer_value(json_object_get(got, "late")), 0);
	ck_assert_ptr_nonnull(json_object_get(got, "late"));
	json_decref(got);
	ck_assert_uint_eq(count_calls(), 1);
	ck_assert_int_eq(upstream_check(&up), 0);
}
END_TEST

START_TEST(late_answer_in_pieces)
{
	static const char late[] = "{\"parameters\":{\"late\":1}}";
	json_t *got;

	up.timeout_ms = 50;
	ck_assert_int_eq(upstream_call(&up, "Status", &got), -ETIMEDOUT);
	for (size_t i = 0; i < sizeof(late); i++) {
		ck_assert_int_eq(upstream_call(&up, "Status", &got), -ETIMEDOUT);
		ck_assert_int_eq(io_send(master, late + i, 1, io_deadline(1000)), 0);
		ck_assert_int_eq(upstream_check(&up), 0);
	}
	ck_assert(!up.owes_answer);
	ck_assert_uint_eq(count_calls(), 1);
}
END_TEST

START_TEST(gone_master)
{
	json_t *got;

	close(master);
	master = -1;
	ck_assert_int_eq(upstream_check(&up), -ECONNRESET);
	ck_assert_int_eq(upstream_call(&up, "Ping", &got), -ECONNRESET);
}
END_TEST

START_TEST(gone_while_it_owes)
{
	struct page page;
	json_t *got;

	up.timeout_ms = 50;
	ck_assert_int_eq(upstream_call(&up, "Ping", &got), -ETIMEDOUT);
	close(master);
	master = -1;
	page_make(&up, "GET", "/livez", NULL, &page);
	ck_assert_uint_eq(page.code, 503);
	page_free(&page);
	ck_assert_int_lt(upstream_check(&up), 0);
}
END_TEST

START_TEST(rubbish_ends_it)
{
	static const char *const rubbish[] = { "", "[]", "no json", "{\"parameters\":{}" };
	json_t *got;

	answer(rubbish[_i]);
	/* Nobody has asked; or, where it came in after, it is no answer. */
	ck_assert_int_eq(upstream_check(&up), -EBADMSG);
	ck_assert_int_eq(upstream_call(&up, "Ping", &got), -EBADMSG);
	ck_assert_uint_eq(count_calls(), 0);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("core");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, pages, 0, (int)ARRAY_LEN(cases));
	tcase_add_test(tc, hung_master);
	tcase_add_test(tc, late_answer_in_pieces);
	tcase_add_test(tc, gone_master);
	tcase_add_test(tc, gone_while_it_owes);
	tcase_add_loop_test(tc, rubbish_ends_it, 0, 4);
	return run_case("http", tc);
}
