/*
 * test_log.c - what a line looks like.
 */
#include "log_output.h"
#include "run_case.h"

#include <jansson.h>
#include <sys/stat.h>

static const struct log_about someone = {
	.slot = 2, .pid = 123, .serial = 17, .generation = 1, .event = "exit", .reason = "crash",
};

static const struct log_about only_pid = { .pid = 5 };
static const struct log_about nobody = {0};

START_TEST(text_lines)
{
	static const struct {
		enum log_level level;
		const struct log_about *about;
		const char *message, *want;
	} cases[] = {
		{ LOG_LEVEL_INFO, &someone, "hello", "INFO  slot 2 pid 123 gen 1: hello\n" },
		{ LOG_LEVEL_WARN, NULL, "hello", "WARN  hello\n" },
		{ LOG_LEVEL_NOTICE, NULL, "", "NOTICE \n" },
		{ LOG_LEVEL_ERROR, &only_pid, "x", "ERROR pid 5: x\n" },
		{ LOG_LEVEL_ERROR, &nobody, "x", "ERROR x\n" },
		{ LOG_LEVEL_INFO, NULL, "a\n2026-01-01 INFO forged\n\n",
		    "INFO  a\n    | 2026-01-01 INFO forged\n    | \n" },
		{ LOG_LEVEL_INFO, NULL, "last newline\n", "INFO  last newline\n" },
		{ LOG_LEVEL_INFO, NULL, "esc \033[2J tab\t del\177 cr\r",
		    "INFO  esc ?[2J tab\t del? cr?\n" },
		{ LOG_LEVEL_INFO, NULL, "gr\303\274n \302\233 \302", "INFO  gr\303\274n ? \302\n" },
		{ LOG_LEVEL_DEBUG, NULL, "not shown", "" },
	};

	use_pipe();
	log_write(cases[_i].level, cases[_i].about, "%s", cases[_i].message);
	char *text = take_output(ends[0]);

	ck_assert_str_eq(*text ? after_stamp(text) : "", cases[_i].want);
	free(text);
}
END_TEST

START_TEST(errno_survives)
{
	use_pipe();
	errno = ENOENT;
	log_error("cannot open 'x': %m");
	ck_assert_int_eq(errno, ENOENT);
	char *text = take_output(ends[0]);

	ck_assert_str_eq(after_stamp(text), "ERROR cannot open 'x': No such file or directory\n");
	free(text);
}
END_TEST

START_TEST(journal_lines)
{
	struct stat st;
	char name[64];
	char *text;

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	ck_assert_int_eq(fstat(ends[1], &st), 0);
	ck_assert(!log_is_journal(ends[1]));
	snprintf(name, sizeof(name), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	setenv("JOURNAL_STREAM", name, 1);
	ck_assert(log_is_journal(ends[1]));
	log_init(ends[1]);
	log_write(LOG_LEVEL_WARN, &someone, "a\nb");
	text = take_output(ends[0]);
	ck_assert_str_eq(text, "<4>slot 2 pid 123 gen 1: a\n<4>    | b\n");
	free(text);
	setenv("JOURNAL_STREAM", "1:1", 1);
	ck_assert(!log_is_journal(ends[1]));
}
END_TEST

START_TEST(json_lines)
{
	static const char *const messages[][2] = {
		{ "plain", "plain" },
		{ "q\" b\\ t\t n\n c\001 d\177", "q\" b\\ t\t n\n c\001 d\177" },
		{ "gr\303\274n \360\237\230\200", "gr\303\274n \360\237\230\200" },
		{ "bad \377 \303 \355\240\200 \300\200",
		    "bad \357\277\275 \357\277\275 \357\277\275\357\277\275\357\277\275 "
		    "\357\277\275\357\277\275" },
	};
	json_error_t error;
	json_t *o;
	char *text;

	use_pipe();
	log_set_format(LOG_FORMAT_JSON);
	log_write(LOG_LEVEL_NOTICE, &someone, "%s", messages[_i][0]);
	text = take_output(ends[0]);
	ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
	o = json_loads(text, JSON_REJECT_DUPLICATES, &error);
	ck_assert_msg(o != NULL, "%s: %s", error.text, text);
	ck_assert_str_eq(json_string_value(json_object_get(o, "message")), messages[_i][1]);
	ck_assert_str_eq(json_string_value(json_object_get(o, "level")), "notice");
	ck_assert_int_eq(json_integer_value(json_object_get(o, "slot")), 2);
	ck_assert_int_eq(json_integer_value(json_object_get(o, "pid")), 123);
	ck_assert_int_eq(json_integer_value(json_object_get(o, "serial")), 17);
	ck_assert_int_eq(json_integer_value(json_object_get(o, "generation")), 1);
	ck_assert_str_eq(json_string_value(json_object_get(o, "event")), "exit");
	ck_assert_str_eq(json_string_value(json_object_get(o, "reason")), "crash");
	const char *time = json_string_value(json_object_get(o, "time"));

	ck_assert_uint_eq(strlen(time), strlen("2026-11-21T02:50:01.123Z"));
	ck_assert_int_eq(time[23], 'Z');
	json_decref(o);
	free(text);
}
END_TEST

/* Long messages are cut, and a cut line is still one valid line. */
START_TEST(long_messages)
{
	static const char fillers[] = { 'x', '\001', '"', '\377', '\n' };
	char message[20000];
	json_error_t error;
	char *text;
	json_t *o;

	memset(message, fillers[_i], sizeof(message) - 1);
	message[sizeof(message) - 1] = '\0';
	use_pipe();
	log_info("%s", message);
	text = take_output(ends[0]);
	ck_assert_uint_gt(strlen(text), 8000);
	ck_assert_uint_le(strlen(text), 16384);
	ck_assert_int_eq(text[strlen(text) - 1], '\n');
	ck_assert_msg(strstr(text, "...\n") != NULL, "not marked as cut");
	free(text);

	log_set_format(LOG_FORMAT_JSON);
	log_write(LOG_LEVEL_INFO, &someone, "%s", message);
	text = take_output(ends[0]);
	o = json_loads(text, 0, &error);
	ck_assert_msg(o != NULL, "%s at %d: %s", error.text, error.position, text);
	json_decref(o);
	free(text);
}
END_TEST

static unsigned n_sunk;
static char last_sunk[256];

static void
count_sink(void *ctx, enum log_level level, const struct log_about *about, const char *message)
{
	ck_assert_ptr_eq(ctx, &n_sunk);
	ck_assert_int_eq(level, LOG_LEVEL_NOTICE);
	ck_assert_ptr_eq(about, &someone);
	snprintf(last_sunk, sizeof(last_sunk), "%s", message);
	n_sunk++;
}

START_TEST(sink_and_level)
{
	char *text;

	use_pipe();
	log_set_sink(count_sink, &n_sunk);
	log_write(LOG_LEVEL_NOTICE, &someone, "n = %d", 5);
	log_write(LOG_LEVEL_DEBUG, &someone, "below the level");
	ck_assert_uint_eq(n_sunk, 1);
	ck_assert_str_eq(last_sunk, "n = 5");
	log_set_sink(NULL, NULL);
	log_set_level(LOG_LEVEL_DEBUG);
	ck_assert_int_eq(log_get_level(), LOG_LEVEL_DEBUG);
	log_debug("seen");
	ck_assert_uint_eq(n_sunk, 1);
	text = take_output(ends[0]);
	ck_assert_str_eq(after_stamp(text), "DEBUG seen\n");
	free(text);
}
END_TEST

START_TEST(limits)
{
	struct log_limit l = { .burst = 2, .interval_ms = 1000 };
	static const struct {
		uint64_t now;
		bool pass;
		unsigned suppressed;
	} steps[] = {
		{ 5000, true, 0 }, { 5001, true, 0 }, { 5002, false, 0 }, { 5999, false, 0 },
		{ 6000, true, 2 }, { 6001, true, 0 }, { 6002, false, 0 }, { 9000, true, 1 },
		{ 100, true, 0 },	/* a clock that went back is no reason to be silent */
	};

	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		unsigned suppressed = 77;
		bool pass = log_limit_pass(&l, steps[i].now, &suppressed);

		ck_assert_msg(pass == steps[i].pass, "step %zu", i);
		ck_assert_msg(suppressed == (pass ? steps[i].suppressed : 77), "step %zu: %u", i,
		    suppressed);
	}
	ck_assert(log_limit_pass(&l, 100000, NULL));
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("all");

	unsetenv("JOURNAL_STREAM");
	tcase_set_timeout(tc, 30);
	tcase_add_loop_test(tc, text_lines, 0, 10);
	tcase_add_test(tc, errno_survives);
	tcase_add_test(tc, journal_lines);
	tcase_add_loop_test(tc, json_lines, 0, 4);
	tcase_add_loop_test(tc, long_messages, 0, 5);
	tcase_add_test(tc, sink_and_level);
	tcase_add_test(tc, limits);
	return run_case("log", tc);
}
