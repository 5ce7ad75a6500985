/*
 * test_varlink.c - framing, shape of calls, messages that are built.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/varlink.h"

#include "base/buf.h"

#include "run_case.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#define MAX 64

/* bytes may hold NULs; want: result of one varlink_take; left: bytes in the buffer after. */
static const struct {
	const char *label, *bytes;
	size_t len;
	int want;
	size_t left;
} takes[] = {
	{ "nothing", "", 0, 0, 0 },
	{ "half a message", "{\"method\"", 9, 0, 9 },
	{ "one message", "{}", 3, 1, 0 },
	{ "and a half", "{}\0{", 4, 1, 1 },
	{ "two messages", "{}\0{}", 6, 1, 3 },
	{ "empty message", "", 1, -EBADMSG, 1 },
	{ "array", "[]", 3, -EBADMSG, 3 },
	{ "number", "1", 2, -EBADMSG, 2 },
	{ "no JSON", "GET / HTTP/1.1\r\n", 17, -EBADMSG, 17 },
	{ "rubbish after", "{} x", 5, -EBADMSG, 5 },
	{ "same name twice", "{\"a\":1,\"a\":2}", 14, -EBADMSG, 14 },
	{ "no UTF-8", "{\"a\":\"\xff\"}", 10, -EBADMSG, 10 },
};

START_TEST(take)
{
	AUTO_BUF struct buf b = BUF_INIT(1024);
	json_t *message = NULL;
	int r;

	ck_assert_int_eq(buf_append(&b, takes[_i].bytes, takes[_i].len), 0);
	r = varlink_take(&b, MAX, &message);
	ck_assert_msg(r == takes[_i].want, "%s: result %d", takes[_i].label, r);
	ck_assert_msg(b.len == takes[_i].left, "%s: %zu bytes left", takes[_i].label, b.len);
	ck_assert_msg((message != NULL) == (r == 1), "%s: message", takes[_i].label);
	json_decref(message);
}
END_TEST

START_TEST(take_limit)
{
	for (size_t len = MAX - 2; len <= MAX + 2; len++) {
		AUTO_BUF struct buf b = BUF_INIT(1024);
		json_t *message = NULL;
		char text[MAX + 8];
		int r;

		/* {"a":"xxx"} of len bytes */
		memset(text, 'x', sizeof(text));
		memcpy(text, "{\"a\":\"", 6);
		memcpy(text + len - 2, "\"}", 3);
		ck_assert_int_eq(buf_append(&b, text, len), 0);
		r = varlink_take(&b, MAX, &message);
		ck_assert_msg(r == (len > MAX ? -EMSGSIZE : 0), "%zu without end: %d", len, r);
		ck_assert_int_eq(buf_putc(&b, '\0'), 0);
		r = varlink_take(&b, MAX, &message);
		ck_assert_msg(r == (len > MAX ? -EMSGSIZE : 1), "%zu: %d", len, r);
		json_decref(message);
	}
}
END_TEST

static const struct {
	const char *text;
	int want;
	bool more, oneway;
	size_t n_parameters;
} calls[] = {
	{ "{\"method\":\"a.B\"}", 0, false, false, 0 },
	{ "{\"method\":\"a.B\",\"parameters\":null}", 0, false, false, 0 },
	{ "{\"method\":\"a.B\",\"parameters\":{\"x\":1,\"y\":2}}", 0, false, false, 2 },
	{ "{\"method\":\"a.B\",\"more\":true}", 0, true, false, 0 },
	{ "{\"method\":\"a.B\",\"more\":false,\"oneway\":true}", 0, false, true, 0 },
	{ "{\"method\":\"a.B\",\"more\":null,\"upgrade\":false,\"foreign\":[1]}", 0, false, false,
	    0 },
	{ "{}", -EBADMSG, false, false, 0 },
	{ "{\"method\":1}", -EBADMSG, false, false, 0 },
	{ "{\"method\":\"a.B\",\"parameters\":[]}", -EBADMSG, false, false, 0 },
	{ "{\"method\":\"a.B\",\"parameters\":\"x\"}", -EBADMSG, false, false, 0 },
	{ "{\"method\":\"a.B\",\"more\":1}", -EBADMSG, false, false, 0 },
	{ "{\"method\":\"a.B\",\"oneway\":\"yes\"}", -EBADMSG, false, false, 0 },
	{ "{\"method\":\"a.B\",\"more\":true,\"oneway\":true}", -EBADMSG, false, false, 0 },
	{ "{\"method\":\"a.B\",\"upgrade\":true}", -EBADMSG, false, false, 0 },
};

START_TEST(parse_call)
{
	json_t *message = json_loads(calls[_i].text, 0, NULL);
	struct varlink_call call;
	struct err e = { 0 };
	int r;

	ck_assert_ptr_nonnull(message);
	r = varlink_parse_call(message, &call, &e);
	ck_assert_msg(r == calls[_i].want, "%s: %d", calls[_i].text, r);
	if (r < 0) {
		ck_assert_msg(e.text[0] != '\0', "%s: no reason", calls[_i].text);
		json_decref(message);
		return;
	}
	ck_assert_str_eq(call.method, "a.B");
	ck_assert_msg(call.more == calls[_i].more, "%s: more", calls[_i].text);
	ck_assert_msg(call.oneway == calls[_i].oneway, "%s: oneway", calls[_i].text);
	ck_assert_ptr_nonnull(call.parameters);
	ck_assert_uint_eq(json_object_size(call.parameters), calls[_i].n_parameters);
	varlink_call_done(&call);
	ck_assert_ptr_null(call.message);
}
END_TEST

/* The one message in b, which must be as long as the buffer says. */
static void
expect(struct buf *b, const char *text)
{
	ck_assert_uint_eq(b->len, strlen(b->data) + 1);
	ck_assert_str_eq(b->data, text);
	buf_clear(b);
}

START_TEST(put)
{
	AUTO_BUF struct buf b = BUF_INIT(1024);
	json_t *parameters = json_pack("{s:i}", "slot", 3);

	ck_assert_int_eq(varlink_put_call(&b, "a.B", NULL, false), 0);
	expect(&b, "{\"method\":\"a.B\"}");
	ck_assert_int_eq(varlink_put_call(&b, "a.B", parameters, true), 0);
	expect(&b, "{\"method\":\"a.B\",\"parameters\":{\"slot\":3},\"more\":true}");
	ck_assert_int_eq(varlink_put_oneway(&b, "a.B", NULL), 0);
	expect(&b, "{\"method\":\"a.B\",\"oneway\":true}");
	ck_assert_int_eq(varlink_put_reply(&b, NULL, false), 0);
	expect(&b, "{\"parameters\":{}}");
	ck_assert_int_eq(varlink_put_reply(&b, parameters, true), 0);
	expect(&b, "{\"parameters\":{\"slot\":3},\"continues\":true}");
	ck_assert_int_eq(varlink_put_error(&b, "a.E", parameters), 0);
	expect(&b, "{\"error\":\"a.E\",\"parameters\":{\"slot\":3}}");
	ck_assert_uint_eq(parameters->refcount, 1);
	json_decref(parameters);
}
END_TEST

START_TEST(put_beyond_limit)
{
	size_t need = 1 + sizeof("{\"parameters\":{\"a\":\"0123456789\",\"b\":\"0123456789\"}}");

	for (size_t limit = 1; limit < need + 3; limit++) {
		AUTO_BUF struct buf b = BUF_INIT(limit);
		json_t *parameters = json_pack("{s:s, s:s}", "a", "0123456789", "b", "0123456789");
		int r;

		ck_assert_int_eq(buf_putc(&b, 'k'), 0);
		r = varlink_put_reply(&b, parameters, false);
		ck_assert_msg(r < 0 ? b.len == 1 : b.data[b.len - 1] == '\0',
		    "limit %zu: half a message", limit);
		ck_assert_msg((r < 0) == (limit < need), "limit %zu: %d", limit, r);
		json_decref(parameters);
	}
}
END_TEST

START_TEST(descriptions)
{
	ck_assert_ptr_nonnull(strstr(varlink_description, "interface " VARLINK_INTERFACE "\n"));
	ck_assert_ptr_nonnull(strstr(varlink_service_description,
	    "interface " VARLINK_SERVICE "\n"));
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("core");

	tcase_add_loop_test(tc, take, 0, (int)ARRAY_LEN(takes));
	tcase_add_test(tc, take_limit);
	tcase_add_loop_test(tc, parse_call, 0, (int)ARRAY_LEN(calls));
	tcase_add_test(tc, put);
	tcase_add_test(tc, put_beyond_limit);
	tcase_add_test(tc, descriptions);
	return run_case("varlink", tc);
}
