/*
 * test_control.c - what the control socket answers, and in which order.
 */
#include "control_rig.h"
#include "run_case.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static const struct {
	const char *call, *answer, *what;	/* what: the master was asked for, NULL: nothing */
	unsigned number;
	bool flag;
} calls[] = {
	{ PING, DONE, NULL, 0, false },
	{ "{\"method\":\"io.preforkd.Manager.Ping\"}", DONE, NULL, 0, false },
	{ CALL("Status", "{}"), "{\"parameters\":{\"status\":"
	    "{\"state\":\"running\",\"text\":\"\"}}}", NULL, 0, false },
	{ CALL("Recycle", "{}"), DONE, "recycle", 0, false },
	{ CALL("Recycle", "{\"slot\":null,\"wait\":null}"), DONE, "recycle", 0, false },
	{ CALL("Recycle", "{\"slot\":3,\"wait\":false}"), DONE, "recycle", 3, false },
	{ CALL("Recycle", "{\"slot\":7}"),
	    "{\"error\":\"io.preforkd.Manager.NoSuchSlot\",\"parameters\":{\"slot\":7}}",
	    "recycle", 7, false },
	{ CALL("Recycle", "{\"slot\":0}"), BAD("slot"), NULL, 0, false },
	{ CALL("Recycle", "{\"slot\":-1}"), BAD("slot"), NULL, 0, false },
	{ CALL("Recycle", "{\"slot\":1.5}"), BAD("slot"), NULL, 0, false },
	{ CALL("Recycle", "{\"slot\":\"all\"}"), BAD("slot"), NULL, 0, false },
	{ CALL("Recycle", "{\"slot\":9223372036854775807}"), BAD("slot"), NULL, 0, false },
	{ CALL("Recycle", "{\"wait\":1}"), BAD("wait"), NULL, 0, false },
	{ CALL("Recycle", "{\"wiat\":true}"), BAD("wiat"), NULL, 0, false },
	{ CALL("Scale", "{\"workers\":8}"), DONE, "scale", 8, false },
	{ CALL("Scale", "{\"workers\":101}"), "{\"error\":\"io.preforkd.Manager.Refused\","
	    "\"parameters\":{\"reason\":\"too many\"}}", "scale", 101, false },
	{ CALL("Scale", "{}"), BAD("workers"), NULL, 0, false },
	{ CALL("Scale", "{\"workers\":null}"), BAD("workers"), NULL, 0, false },
	{ CALL("Scale", "{\"workers\":0}"), BAD("workers"), NULL, 0, false },
	{ CALL("Stop", "{}"), DONE, "stop", 0, false },
	{ CALL("Stop", "{\"quick\":true}"), DONE, "stop", 0, true },
	{ CALL("Stop", "{\"quick\":\"yes\"}"), BAD("quick"), NULL, 0, false },
	{ CALL("Report", "{\"slot\":2}"), "{\"parameters\":{\"text\":\"stacks\"}}", "report", 2,
	    false },
	{ CALL("Report", "{}"), BAD("slot"), NULL, 0, false },
	{ CALL("Memory", "{}"), "{\"error\":\"org.varlink.service.ExpectedMore\"}", NULL, 0,
	    false },
	{ CALL("Memory", "{\"slot\":1}"), BAD("slot"), NULL, 0, false },
	{ CALL("Report", "{\"slot\":2,\"what\":\"stacks\",\"seconds\":null}"),
	    "{\"parameters\":{\"text\":\"stacks\"}}", "report", 2, false },
	{ CALL("Report", "{\"slot\":2,\"what\":\"memory\"}"),
	    "{\"parameters\":{\"text\":\"stacks\"}}", "report", 2, true },
	{ CALL("Report", "{\"slot\":2,\"what\":\"memory\",\"seconds\":600}"),
	    "{\"parameters\":{\"text\":\"stacks\"}}", "report", 600002, true },
	{ CALL("Report", "{\"slot\":2,\"what\":\"memory\",\"seconds\":601}"), BAD("seconds"),
	    NULL, 0, false },
	{ CALL("Report", "{\"slot\":2,\"seconds\":5}"), BAD("seconds"), NULL, 0, false },
	{ CALL("Report", "{\"slot\":2,\"what\":\"heap\"}"), BAD("what"), NULL, 0, false },
	{ CALL("Report", "{\"slot\":2,\"what\":1}"), BAD("what"), NULL, 0, false },
	{ CALL("Nothing", "{}"), "{\"error\":\"org.varlink.service.MethodNotFound\",\"parameters\":"
	    "{\"method\":\"io.preforkd.Manager.Nothing\"}}", NULL, 0, false },
	{ "{\"method\":\"com.example.Other.Do\"}", "{\"error\":"
	    "\"org.varlink.service.InterfaceNotFound\",\"parameters\":"
	    "{\"interface\":\"com.example.Other\"}}", NULL, 0, false },
	{ "{\"method\":\"Ping\"}", "{\"error\":\"org.varlink.service.InterfaceNotFound\","
	    "\"parameters\":{\"interface\":\"\"}}", NULL, 0, false },
	{ "{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":"
	    "{\"interface\":\"a.b\"}}", "{\"error\":\"org.varlink.service.InterfaceNotFound\","
	    "\"parameters\":{\"interface\":\"a.b\"}}", NULL, 0, false },
	{ "{\"method\":\"org.varlink.service.GetInterfaceDescription\"}", BAD("interface"), NULL, 0,
	    false },
};

START_TEST(methods)
{
	int fd = connect_client();

	ask(fd, calls[_i].call);
	expect(fd, calls[_i].answer);
	ck_assert_str_eq(asked.what, calls[_i].what == NULL ? "" : calls[_i].what);
	ck_assert_uint_eq(asked.number, calls[_i].number);
	ck_assert(asked.flag == calls[_i].flag);
	/* and the connection lives on */
	ask(fd, PING);
	expect(fd, DONE);
	close(fd);
}
END_TEST

START_TEST(service)
{
	static const char *const names[] = { VARLINK_INTERFACE, VARLINK_SERVICE };
	int fd = connect_client();
	json_t *got, *p;
	char call[256];

	ask(fd, "{\"method\":\"org.varlink.service.GetInfo\"}");
	got = hear(fd);
	p = json_object_get(got, "parameters");
	for (size_t i = 0; i < 4; i++)
		ck_assert(json_is_string(json_object_get(p, ((const char *[]){ "vendor", "product",
		    "version", "url" })[i])));
	ck_assert_uint_eq(json_array_size(json_object_get(p, "interfaces")), 2);
	json_decref(got);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(call, sizeof(call), "{\"method\":\"org.varlink.service."
		    "GetInterfaceDescription\",\"parameters\":{\"interface\":\"%s\"}}", names[i]);
		ask(fd, call);
		got = hear(fd);
		p = json_object_get(json_object_get(got, "parameters"), "description");
		ck_assert_ptr_nonnull(strstr(json_string_value(p), names[i]));
		json_decref(got);
	}
	close(fd);
}
END_TEST

START_TEST(who_asked_is_logged)
{
	char want[128];
	int fd = connect_client();

	ask(fd, CALL("Recycle", "{\"slot\":3}"));
	expect(fd, DONE);
	snprintf(want, sizeof(want), "recycle of slot 3 asked by uid %u pid %d\n",
	    (unsigned)getuid(), (int)getpid());
	ck_assert_msg(strstr(logged, want) != NULL, "%s", logged);
	logged[0] = '\0';
	ask(fd, CALL("Status", "{}"));
	json_decref(hear(fd));
	ck_assert_str_eq(logged, "");
	close(fd);
}
END_TEST

static const struct {
	const char *label, *bytes;
	size_t len;
} garbage[] = {
	{ "HTTP", "GET / HTTP/1.1\r\n\r\n", 19 },
	{ "empty message", "", 1 },
	{ "no object", "[1,2]", 6 },
	{ "no method", "{}", 3 },
	{ "bytes", "\xff\xfe\xfd", 4 },
	{ "parameters of another type", "{\"method\":\"a.B\",\"parameters\":3}", 32 },
	{ "upgrade", "{\"method\":\"a.B\",\"upgrade\":true}", 32 },
};

START_TEST(garbage_closes)
{
	int fd = connect_client(), other = connect_client();

	say(fd, garbage[_i].bytes, garbage[_i].len);
	expect_closed(fd);
	ask(other, PING);
	expect(other, DONE);
	close(other);
}
END_TEST

START_TEST(over_long_request)
{
	AUTO_FREE char *text = malloc(VARLINK_REQUEST_MAX + 4096);
	int fd = connect_client();

	ck_assert_ptr_nonnull(text);
	memset(text, ' ', VARLINK_REQUEST_MAX + 4096);
	say(fd, text, VARLINK_REQUEST_MAX + 4096);
	expect_closed(fd);
	ck_assert_ptr_nonnull(strstr(logged, "over-long"));

	/* as long as is allowed */
	fd = connect_client();
	memcpy(text, PING, strlen(PING));
	text[VARLINK_REQUEST_MAX] = '\0';
	say(fd, text, VARLINK_REQUEST_MAX + 1);
	expect(fd, DONE);
	close(fd);
}
END_TEST

START_TEST(nested_deeply)
{
	AUTO_FREE char *text = malloc(VARLINK_REQUEST_MAX);
	int fd = connect_client();

	ck_assert_ptr_nonnull(text);
	memset(text, '[', VARLINK_REQUEST_MAX);
	text[VARLINK_REQUEST_MAX - 1] = '\0';
	say(fd, text, VARLINK_REQUEST_MAX);
	expect_closed(fd);
}
END_TEST

START_TEST(byte_by_byte)
{
	static const char call[] = PING;
	int fd = connect_client();

	for (size_t i = 0; i < sizeof(call); i++) {
		say(fd, call + i, 1);
		ev_run(loop, EVRUN_NOWAIT);
	}
	expect(fd, DONE);
	close(fd);
}
END_TEST

START_TEST(pipelined)
{
	AUTO_BUF struct buf in = BUF_INIT(65536);
	AUTO_BUF struct buf out = BUF_INIT(65536);
	int fd = connect_client();

	for (unsigned i = 1; i <= 90; i++) {
		ck_assert_int_eq(buf_printf(&out, CALL("Report", "{\"slot\":%u}"), i), 0);
		ck_assert_int_eq(buf_putc(&out, '\0'), 0);
	}
	say(fd, out.data, out.len);
	for (unsigned i = 1; i <= 90; i++) {
		json_t *got = hear_from(fd, &in);

		ck_assert_ptr_nonnull(json_object_get(got, "parameters"));
		json_decref(got);
		/* taken one after another, never ahead of what was sent */
		ck_assert_uint_ge(asked.n, i);
	}
	ck_assert_uint_eq(asked.n, 90);
	ck_assert_uint_eq(asked.number, 90);
	close(fd);
}
END_TEST

START_TEST(waits_for_the_answer_before)
{
	int fd = connect_client();

	ask(fd, CALL("Reload", "{}"));
	ask(fd, PING);
	TURN_UNTIL(asked.n == 1);
	for (int i = 0; i < 5; i++)
		ev_run(loop, EVRUN_NOWAIT);
	control_reply(control, asked.id, json_pack("{s:i}", "generation", 2));
	ck_assert(control_has_unsent(control));
	{
		AUTO_BUF struct buf in = BUF_INIT(65536);
		json_t *first = hear_from(fd, &in), *second = hear_from(fd, &in);

		ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(first,
		    "parameters"), "generation")), 2);
		ck_assert_uint_eq(json_object_size(json_object_get(second, "parameters")), 0);
		json_decref(first);
		json_decref(second);
	}
	ck_assert(!control_has_unsent(control));
	close(fd);
}
END_TEST

START_TEST(progress)
{
	int fd = connect_client();

	ask(fd, "{\"method\":\"io.preforkd.Manager.Reload\",\"more\":true}");
	TURN_UNTIL(asked.n == 1);
	control_progress(control, asked.id, "checking \xff settings");
	expect(fd, "{\"parameters\":{\"progress\":\"checking ? settings\"},\"continues\":true}");
	control_progress(control, asked.id, "starting");
	expect(fd, "{\"parameters\":{\"progress\":\"starting\"},\"continues\":true}");
	control_error(control, asked.id, "ReloadFailed", "it raised", "Traceback\n\x1b");
	expect(fd, "{\"error\":\"io.preforkd.Manager.ReloadFailed\",\"parameters\":"
	    "{\"reason\":\"it raised\",\"last_words\":\"Traceback\\n\\u001b\"}}");
	/* the call is over */
	control_progress(control, asked.id, "late");
	control_reply(control, asked.id, json_object());
	ask(fd, PING);
	expect(fd, DONE);
	close(fd);
}
END_TEST

START_TEST(no_progress_without_more)
{
	int fd = connect_client();

	ask(fd, CALL("Reload", "{}"));
	TURN_UNTIL(asked.n == 1);
	control_progress(control, asked.id, "starting");
	control_reply(control, asked.id, NULL);
	expect(fd, DONE);
	close(fd);
}
END_TEST

START_TEST(gone_before_the_answer)
{
	int fd = connect_client();
	control_call_id id;

	ask(fd, "{\"method\":\"io.preforkd.Manager.Reload\",\"more\":true}");
	TURN_UNTIL(asked.n == 1);
	id = asked.id;
	close(fd);
	TURN_UNTIL(control->conns[0].fd < 0);
	/* another takes its place and must not hear of it */
	fd = connect_client();
	ask(fd, CALL("Reload", "{}"));
	TURN_UNTIL(asked.n == 2);
	control_progress(control, id, "starting");
	control_error(control, id, "ReloadFailed", "no", "words");
	control_reply(control, id, json_object());
	ck_assert(!control_has_unsent(control));
	control_reply(control, asked.id, json_pack("{s:b}", "mine", true));
	expect(fd, "{\"parameters\":{\"mine\":true}}");
	close(fd);
}
END_TEST

START_TEST(gone_without_noticing)
{
	int fd = connect_client();

	/* The answer is built in the same turn in which the client leaves. */
	ask(fd, CALL("Reload", "{}"));
	TURN_UNTIL(asked.n == 1);
	close(fd);
	control_reply(control, asked.id, NULL);
	TURN_UNTIL(control->conns[0].fd < 0);
}
END_TEST

START_TEST(half_closed_is_answered)
{
	int fd = connect_client();

	ask(fd, CALL("Reload", "{}"));
	ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
	TURN_UNTIL(asked.n == 1 && control->conns[0].at_eof);
	control_reply(control, asked.id, NULL);
	expect(fd, DONE);
	expect_closed(fd);
}
END_TEST

START_TEST(oneway)
{
	int fd = connect_client();

	ask(fd, "{\"method\":\"io.preforkd.Manager.Reload\",\"oneway\":true}");
	ask(fd, "{\"method\":\"no.such.Method\",\"oneway\":true}");
	ask(fd, PING);
	expect(fd, DONE);
	ck_assert_uint_eq(asked.n, 1);
	control_progress(control, asked.id, "starting");
	control_reply(control, asked.id, NULL);
	ask(fd, CALL("Scale", "{\"workers\":3}"));
	expect(fd, DONE);
	close(fd);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("core");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, rig_setup, rig_teardown);
	tcase_add_loop_test(tc, methods, 0, (int)ARRAY_LEN(calls));
	tcase_add_test(tc, service);
	tcase_add_test(tc, who_asked_is_logged);
	tcase_add_loop_test(tc, garbage_closes, 0, (int)ARRAY_LEN(garbage));
	tcase_add_test(tc, over_long_request);
	tcase_add_test(tc, nested_deeply);
	tcase_add_test(tc, byte_by_byte);
	tcase_add_test(tc, pipelined);
	tcase_add_test(tc, waits_for_the_answer_before);
	tcase_add_test(tc, progress);
	tcase_add_test(tc, no_progress_without_more);
	tcase_add_test(tc, gone_before_the_answer);
	tcase_add_test(tc, gone_without_noticing);
	tcase_add_test(tc, half_closed_is_answered);
	tcase_add_test(tc, oneway);
	return run_case("control", tc);
}
