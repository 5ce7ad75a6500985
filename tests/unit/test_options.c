/*
 * test_options.c - the option table: sound in itself, and the same as the sample
 * configuration and the manual say.
 *
 * Finds the files below $srcdir (default ".").
 */
#include "base/buf.h"
#include "model/nearest.h"
#include "model/options.h"
#include "model/setting.h"
#include "option_doc.h"
#include "run_case.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

static struct settings s;	/* the fields that the tests write to */

static void
clear_settings(void)
{
	for (size_t i = 0; i < options_n; i++)
		setting_clear(&s, &options[i]);
}

/* The lines of a file below srcdir, in lines[]; the text is owned by *ret_text. */
static size_t
read_lines(const char *name, char **ret_text, char **lines, size_t max)
{
	const char *dir = getenv("srcdir");
	char path[4096];
	struct buf text = BUF_INIT(1 << 20);
	char chunk[4096];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir ? dir : ".", name);
	f = fopen(path, "r");
	ck_assert_msg(f != NULL, "cannot open %s (is srcdir set?)", path);
	while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
		ck_assert_int_eq(buf_append(&text, chunk, n), 0);
	fclose(f);
	*ret_text = buf_take(&text);
	n = 0;
	for (char *p = strtok(*ret_text, "\n"); p; p = strtok(NULL, "\n")) {
		ck_assert_uint_lt(n, max);
		lines[n++] = p;
	}
	return n;
}

/* Sets one option; text of the value that was stored, or NULL when it was refused. */
static char *
try_value(const struct option *o, const char *text, struct err *e)
{
	struct buf out AUTO_BUF = BUF_INIT(1000);

	if (setting_set(&s, o, text, "/base", e) < 0)
		return NULL;
	ck_assert_int_eq(setting_print(&s, o, &out), 0);
	return buf_take(&out);
}

static char *
number_text(const struct option *o, uint64_t v)
{
	struct buf out AUTO_BUF = BUF_INIT(100);

	option_doc_number(o, v, &out);
	return buf_take(&out);
}

START_TEST(rows_are_complete)
{
	for (size_t i = 0; i < options_n; i++) {
		const struct option *o = &options[i];

		ck_assert_ptr_eq(option_find(o->key), o);	/* unique, too */
		ck_assert_msg(o->group && o->arg && o->help, "%s", o->key);
		ck_assert_msg(strspn(o->key, "abcdefghijklmnopqrstuvwxyz-") == strlen(o->key), "%s",
		    o->key);
		ck_assert_msg((o->type == OPT_CHOICE) == (o->choices != NULL), "%s", o->key);
		ck_assert_msg(o->offset + o->size <= sizeof(struct settings), "%s", o->key);
		/* settings_print.c compares these as strings */
		if (o->flags & OPTF_RESTART)
			ck_assert_msg(o->type == OPT_PATH || o->type == OPT_STRING, "%s", o->key);
		for (size_t j = 0; j < i; j++)
			ck_assert_msg(options[j].offset + options[j].size <= o->offset ||
			    o->offset + o->size <= options[j].offset, "%s and %s share a field",
			    o->key, options[j].key);
	}
	ck_assert_ptr_null(option_find("nonsense"));
	ck_assert_ptr_null(option_find(""));
}
END_TEST

START_TEST(widths_match_the_fields)
{
	static const size_t widths[OPT_N_TYPES] = {
		[OPT_STRING] = sizeof(char *), [OPT_PATH] = sizeof(char *),
		[OPT_COMMAND] = sizeof(char *), [OPT_COUNT] = sizeof(uint64_t),
		[OPT_SIZE] = sizeof(uint64_t), [OPT_TIME] = sizeof(uint64_t),
		[OPT_MODE] = sizeof(uint64_t), [OPT_INT] = sizeof(int64_t),
		[OPT_BOOL] = sizeof(bool), [OPT_CHOICE] = sizeof(uint64_t),
		[OPT_JITTER] = sizeof(struct jitter_setting),
		[OPT_LIST] = sizeof(struct string_list),
		[OPT_READY] = sizeof(struct ready_setting),
		[OPT_WORKER_LOG] = sizeof(struct worker_log_setting),
		[OPT_LIMIT] = sizeof(struct limit),
	};

	for (size_t i = 0; i < options_n; i++)
		ck_assert_msg(options[i].size == widths[options[i].type], "%s", options[i].key);
}
END_TEST

START_TEST(defaults_are_legal)
{
	for (size_t i = 0; i < options_n; i++) {
		const struct option *o = &options[i];
		struct err e = {0};
		char *text AUTO_FREE = NULL, *again AUTO_FREE = NULL;

		if (!o->def)
			continue;
		text = try_value(o, o->def, &e);
		ck_assert_msg(text != NULL, "%s: %s", o->key, e.text);
		/* what is shown is what the table says, paths and lists apart */
		if (o->type != OPT_PATH)
			ck_assert_msg(strcmp(text, o->def) == 0, "%s: '%s'", o->key, text);
		if (o->type == OPT_LIST)
			setting_clear(&s, o);
		again = try_value(o, text, &e);
		ck_assert_msg(again && strcmp(text, again) == 0, "%s: %s", o->key, text);
	}
	clear_settings();
}
END_TEST

START_TEST(ranges_hold)
{
	unsigned n = 0;

	for (size_t i = 0; i < options_n; i++) {
		const struct option *o = &options[i];
		const struct { uint64_t v; bool legal; } rows[] = {
			{ o->min, true }, { o->max, true }, { o->min - 1, false },
			{ o->max + 1, false },
		};

		if (!option_doc_has_range(o))
			continue;
		for (size_t j = 0; j < ARRAY_LEN(rows); j++) {
			char *text AUTO_FREE = number_text(o, rows[j].v);
			char *got AUTO_FREE = NULL;
			struct err e = {0};

			/* below 0, and 0 as "off", are looked at below */
			if (o->type != OPT_INT && (rows[j].v > o->max + 1 ||
			    (rows[j].v == 0 && !rows[j].legal && (o->flags & OPTF_OFF))))
				continue;
			got = try_value(o, text, &e);
			ck_assert_msg((got != NULL) == rows[j].legal, "%s = %s", o->key, text);
			if (got)
				ck_assert_msg(strcmp(got, text) == 0, "%s = %s: %s", o->key, text,
				    got);
			else
				ck_assert_msg(strstr(e.text, "out of range") != NULL,
				    "%s = %s: %s", o->key, text, e.text);
			n++;
		}
		if (o->type != OPT_INT) {
			struct err e = {0};

			ck_assert_msg(!try_value(o, "-1", &e), "%s = -1", o->key);
		}
	}
	ck_assert_uint_gt(n, 80);
	clear_settings();
}
END_TEST

START_TEST(words_for_off_and_unset)
{
	for (size_t i = 0; i < options_n; i++) {
		const struct option *o = &options[i];
		struct err e = {0};
		char *zero AUTO_FREE = NULL, *off AUTO_FREE = NULL, *unset AUTO_FREE = NULL;

		if (!option_doc_has_range(o))
			continue;
		zero = try_value(o, "0", &e);
		off = try_value(o, "off", &e);
		if (o->type != OPT_INT && o->type != OPT_MODE)
			ck_assert_msg((zero != NULL) == ((o->flags & OPTF_OFF) || o->min == 0),
			    "%s", o->key);
		ck_assert_msg((off != NULL) == ((o->flags & OPTF_OFF) != 0), "%s", o->key);
		if (off)
			ck_assert_str_eq(off, "0");
		if (!o->unset_word)
			continue;
		unset = try_value(o, o->unset_word, &e);
		ck_assert_msg(unset && strcmp(unset, o->unset_word) == 0, "%s", o->key);
	}
	clear_settings();
}
END_TEST

START_TEST(nearest_keys)
{
	static const struct { const char *text, *want; } rows[] = {
		{ "worker", "workers" }, { "max_requests", "max-requests" },
		{ "Workers", "workers" },
		{ "max-request-jitter", "max-requests-jitter" },
		{ "relaod-on-rss", "reload-on-rss" },
		{ "gracefull-timeout", "graceful-timeout" }, { "bind", "listen" },
		{ "processes", "workers" }, { "harakiri", "request-timeout" },
		{ "wsgi_app", "wsgi" }, { "certfile", "[server]" }, { "raw_env", "[env]" },
		{ "uswr", "user" }, { "zzz", NULL }, { "", NULL }, { "x", NULL },
		{ "preload_app", "preload" }, { "lazy-apps", "preload" }, { "warmup", "warm-up" },
		{ "a-very-long-key-that-is-longer-than-any-other-one-here", NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *got = option_nearest(rows[i].text);

		if (rows[i].want)
			ck_assert_msg(got && strcmp(got, rows[i].want) == 0, "%s: %s", rows[i].text,
			    got ? got : "none");
		else
			ck_assert_msg(!got, "%s: %s", rows[i].text, got);
	}
}
END_TEST

START_TEST(help_fits_a_terminal)
{
	struct buf out AUTO_BUF = BUF_INIT(1 << 16);

	options_print_help(&out);
	ck_assert(!out.failed);
	for (size_t i = 0; i < options_n; i++) {
		char want[64];
		const char *at;

		snprintf(want, sizeof(want), "\n  --%s %s", options[i].key, options[i].arg);
		at = strstr(out.data, want);
		ck_assert_msg(at != NULL, "%s", want);
		ck_assert_msg(strstr(at + 1, want) == NULL, "%s twice", want);
	}
	for (const char *p = out.data; *p != '\0'; p += strcspn(p, "\n") + 1) {
		ck_assert_msg(strcspn(p, "\n") <= 80, "%.90s", p);
		ck_assert_msg(strcspn(p, "\n") == 0 || p[strcspn(p, "\n") - 1] != ' ', "%.90s", p);
	}
}
END_TEST

START_TEST(sample_equals_the_defaults)
{
	char *text AUTO_FREE = NULL;
	char *lines[1000];
	unsigned seen[200] = {0};
	size_t n = read_lines("conf/preforkd.ini", &text, lines, ARRAY_LEN(lines));

	ck_assert_uint_lt(options_n, ARRAY_LEN(seen));
	for (size_t i = 0; i < n; i++) {
		char *line = lines[i], *eq = strchr(line, '=');
		const struct option *o;

		if (*line == '#' || *line == '[')
			continue;
		ck_assert_msg(*line == ';' && eq, "a line that is not commented out: %s", line);
		*eq = '\0';
		line[strcspn(line, " ")] = '\0';
		o = option_find(line + 1);
		ck_assert_msg(o != NULL, "unknown key %s", line + 1);
		seen[o - options]++;
		ck_assert_msg(strcmp(eq + 1 + strspn(eq + 1, " "), o->def ? o->def : "") == 0,
		    "%s =%s", o->key, eq + 1);
	}
	for (size_t i = 0; i < options_n; i++)
		ck_assert_msg(seen[i] == 1, "%s: %u times", options[i].key, seen[i]);
}
END_TEST

START_TEST(manual_equals_the_table)
{
	char *text AUTO_FREE = NULL;
	char *lines[3000];
	unsigned seen[200] = {0};
	size_t n = read_lines("man/preforkd.ini.5", &text, lines, ARRAY_LEN(lines));
	static const char item[] = ".It Cm ";

	for (size_t i = 0; i + 1 < n; i++) {
		struct buf facts AUTO_BUF = BUF_INIT(1000);
		const struct option *o;

		if (strncmp(lines[i], item, sizeof(item) - 1) != 0)
			continue;
		lines[i] += sizeof(item) - 1;
		lines[i][strcspn(lines[i], " ")] = '\0';
		o = option_find(lines[i]);
		ck_assert_msg(o != NULL, "unknown key %s", lines[i]);
		seen[o - options]++;
		option_doc_print(o, &facts);
		ck_assert_msg(strcmp(lines[i + 1], facts.data) == 0,
		    "%s: the manual has\n%s\nthe table has\n%s", o->key, lines[i + 1], facts.data);
	}
	for (size_t i = 0; i < options_n; i++)
		ck_assert_msg(seen[i] == 1, "%s: %u times", options[i].key, seen[i]);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("core");

	tcase_add_test(tc, rows_are_complete);
	tcase_add_test(tc, widths_match_the_fields);
	tcase_add_test(tc, defaults_are_legal);
	tcase_add_test(tc, ranges_hold);
	tcase_add_test(tc, words_for_off_and_unset);
	tcase_add_test(tc, nearest_keys);
	tcase_add_test(tc, help_fits_a_terminal);
	tcase_add_test(tc, sample_equals_the_defaults);
	tcase_add_test(tc, manual_equals_the_table);
	return run_case("options", tc);
}
