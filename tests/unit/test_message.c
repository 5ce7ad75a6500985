/*
 * test_message.c - good and bad datagrams, every cut of one, texts that try to forge lines.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"
#include "model/message.h"

#include "run_case.h"

#include <check.h>
#include <string.h>

static const struct {
	const char *text;
	int result;
	unsigned has;
} rows[] = {
	{ "", 0, 0 },
	{ "\n\n", 0, 0 },
	{ "READY=1", 0, MK_READY },
	{ "READY=1\n", 0, MK_READY },
	{ "READY=0", 0, 0 },
	{ "READY=1\nSERVER=uvicorn 0.17.6\nSYNC=1\nSTACKS=1\n", 0,
	    MK_READY | MK_SERVER | MK_SYNC | MK_STACKS },
	{ "REQUESTS=12\nBUSY=3\nOLDEST_USEC=99\nWATCHDOG=1", 0,
	    MK_REQUESTS | MK_BUSY | MK_OLDEST | MK_WATCHDOG },
	{ "BORN=1", 0, MK_BORN },
	{ "BORN=0", 0, 0 },
	{ "READY=1\nFORKS=1\nTEXT=preload: yes", 0, MK_READY | MK_FORKS | MK_TEXT },
	{ "UNKNOWN=what\nREADY=1", 0, MK_READY },
	{ "MAINPID=1", 0, MK_MAINPID },
	{ "REQUESTS=18446744073709551615", 0, MK_REQUESTS },
	{ "REQUESTS=18446744073709551616", -EBADMSG, 0 },
	{ "REQUESTS=", -EBADMSG, 0 },
	{ "REQUESTS=-1", -EBADMSG, 0 },
	{ "REQUESTS=1x", -EBADMSG, 0 },
	{ "REQUESTS= 1", -EBADMSG, 0 },
	{ "READY", -EBADMSG, 0 },
	{ "=1", -EBADMSG, 0 },
	{ "READY=1\nrubbish", -EBADMSG, 0 },
	{ "\xff\xfe\x01", -EBADMSG, 0 },
	{ "TRIMMED=30,20,10\nTOOK_USEC=5", 0, MK_TRIMMED | MK_TOOK },
	{ "TRIMMED=0,0,1125899906842624", 0, MK_TRIMMED },
	{ "TRIMMED=0,0,1125899906842625", -EBADMSG, 0 },
	{ "TRIMMED=1,2", -EBADMSG, 0 },
	{ "TRIMMED=1,2,", -EBADMSG, 0 },
	{ "TRIMMED=,,", -EBADMSG, 0 },
	{ "TRIMMED=1,2,3,4", -EBADMSG, 0 },
	{ "TRIMMED=1,-2,3", -EBADMSG, 0 },
	{ "TRIMMED=", -EBADMSG, 0 },
	{ "TRIMMED", -EBADMSG, 0 },
	{ "UNTRIMMED=it drains", 0, MK_UNTRIMMED },
	{ "TRACED=0", 0, MK_TRACED },
	{ "TRACED=much", -EBADMSG, 0 },
	{ "REPORT=7\nMORE=1\nTEXT=a\\nb", 0, MK_REPORT | MK_MORE | MK_TEXT },
	{ "DRAIN=1\nGRACE_USEC=5\nLIMITS=9\nREOPEN=1", 0,
	    MK_DRAIN | MK_GRACE | MK_LIMITS | MK_REOPEN },
};

START_TEST(test_rows)
{
	struct message m;
	int r = message_parse(rows[_i].text, strlen(rows[_i].text), &m);

	ck_assert_msg(r == rows[_i].result, "'%s': %d", rows[_i].text, r);
	if (r == 0)
		ck_assert_msg(m.has == rows[_i].has, "'%s': has %x", rows[_i].text, m.has);
}
END_TEST

START_TEST(test_values)
{
	static const char text[] = "REQUESTS=12\nBUSY=3\nOLDEST_USEC=99\nERROR=no\nSTATUS=x=y\n"
	    "SERVER=s 1\nTRIMMED=300,20,1\nTOOK_USEC=8\nTRACED=77\nUNTRIMMED=busy";
	struct message m;

	ck_assert_int_eq(message_parse(text, sizeof text - 1, &m), 0);
	ck_assert_uint_eq(m.requests, 12);
	ck_assert_uint_eq(m.busy, 3);
	ck_assert_uint_eq(m.oldest_usec, 99);
	ck_assert_uint_eq(m.text_len, 2);
	ck_assert_int_eq(memcmp(m.text, "no", 2), 0);
	ck_assert_uint_eq(m.status_len, 3);
	ck_assert_int_eq(memcmp(m.status, "x=y", 3), 0);
	ck_assert_int_eq(memcmp(m.server, "s 1", 3), 0);
	ck_assert_uint_eq(m.trimmed[0], 300);
	ck_assert_uint_eq(m.trimmed[1], 20);
	ck_assert_uint_eq(m.trimmed[2], 1);
	ck_assert_uint_eq(m.took_usec, 8);
	ck_assert_uint_eq(m.traced, 77);
	ck_assert_uint_eq(m.untrimmed_len, 4);
	ck_assert_int_eq(memcmp(m.untrimmed, "busy", 4), 0);
}
END_TEST

/* Each cut is either good or refused, and a refusal leaves the result alone. */
START_TEST(test_truncated)
{
	static const char text[] = "READY=1\nREQUESTS=12\nERROR=a\\nb\nBUSY=3";

	for (size_t n = 0; n < sizeof text; n++) {
		struct message m;
		int r;

		memset(&m, 0x5a, sizeof m);
		r = message_parse(text, n, &m);
		ck_assert(r == 0 || r == -EBADMSG);
		if (r < 0)
			ck_assert_uint_eq(m.requests, UINT64_C(0x5a5a5a5a5a5a5a5a));
	}
}
END_TEST

START_TEST(test_too_long)
{
	static char text[MESSAGE_MAX + 1];
	struct message m;

	memset(text, '\n', sizeof text);
	ck_assert_int_eq(message_parse(text, sizeof text, &m), -EMSGSIZE);
	ck_assert_int_eq(message_parse(text, MESSAGE_MAX, &m), 0);
}
END_TEST

START_TEST(test_text_round_trip)
{
	static const char *const texts[] = { "", "plain", "two\nlines\n", "back\\slash", "\\n",
	    "end\\", "tab\there" };

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		AUTO_BUF struct buf b = BUF_INIT(1000);
		AUTO_BUF struct buf out = BUF_INIT(1000);
		struct message m;

		message_put_text(&b, "ERROR", texts[i]);
		message_put_number(&b, "REQUESTS", 5);
		ck_assert_int_eq(message_parse(b.data, b.len, &m), 0);
		ck_assert_uint_eq(m.requests, 5);
		message_text(m.text, m.text_len, &out);
		ck_assert_str_eq(out.data != NULL ? out.data : "", texts[i]);
	}
}
END_TEST

START_TEST(test_text_cannot_forge)
{
	AUTO_BUF struct buf out = BUF_INIT(1000);

	message_text("a\x1b[2J\r\x7f\b", 8, &out);
	ck_assert_str_eq(out.data, "a?[2J???");
}
END_TEST

int
main(void)
{
	TCase *t = tcase_create("core");

	tcase_add_loop_test(t, test_rows, 0, (int)ARRAY_LEN(rows));
	tcase_add_test(t, test_values);
	tcase_add_test(t, test_truncated);
	tcase_add_test(t, test_too_long);
	tcase_add_test(t, test_text_round_trip);
	tcase_add_test(t, test_text_cannot_forge);
	return run_case("message", t);
}
