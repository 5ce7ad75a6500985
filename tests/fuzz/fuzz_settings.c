/*
 * fuzz_settings.c - any bytes as an ini file, and as a command line.
 *
 * Settings that load must print to an ini that loads to the same settings; those that do
 * not must say why. The first line may be "--key value", which is then given as on the
 * command line.
 */
#include "base/buf.h"
#include "model/settings.h"

#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
fail(const char *what, const char *text)
{
	fprintf(stderr, "%s: %s\n", what, text ? text : "");
	abort();
}

/* The settings as text without comment lines (they tell origins, which may differ). */
static char *
print_plain(const struct settings *s)
{
	struct buf all AUTO_BUF = BUF_INIT(16 << 20), plain AUTO_BUF = BUF_INIT(16 << 20);

	if (settings_print(s, &all) < 0)
		fail("cannot print", NULL);
	for (const char *p = all.data; *p != '\0';) {
		size_t len = strcspn(p, "\n");

		if (*p != '#')
			buf_append(&plain, p, len + 1);
		p += len + 1;
	}
	return buf_take(&plain);
}

static void
check_round_trip(const struct settings *s)
{
	char *text AUTO_FREE = print_plain(s), *again AUTO_FREE = NULL;
	struct settings_source src = {
		.file = "again.ini", .text = text, .len = strlen(text), .base_dir = "/base",
		.default_workers = 3,
	};
	struct settings *second CLEANUP(settings_freep) = NULL;
	struct errs errs = {0};

	if (settings_load(&src, &second, &errs) < 0)
		fail(text, errs.n > 0 ? errs.text[0] : NULL);
	again = print_plain(second);
	if (strcmp(text, again) != 0)
		fail("differs", again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct settings *s CLEANUP(settings_freep) = NULL;
	struct settings_override override = {0};
	struct settings_source src = {
		.file = "fuzz.ini", .text = (const char *)data, .len = size, .base_dir = "/base",
		.default_workers = 3, .web_concurrency = "2", .port = "80",
	};
	char *line AUTO_FREE = NULL;
	struct errs errs = {0};

	if (size > 2 && memcmp(data, "--", 2) == 0) {
		const uint8_t *end = memchr(data, '\n', size);
		size_t len = end ? (size_t)(end - data) : size;
		char *blank;

		line = strndup((const char *)data + 2, len - 2);
		if (!line)
			return 0;
		blank = strchr(line, ' ');
		if (blank)
			*blank = '\0';
		override = (struct settings_override){ line, blank ? blank + 1 : NULL };
		src.overrides = &override;
		src.n_overrides = 1;
		src.text += end ? len + 1 : len;
		src.len -= end ? len + 1 : len;
	}
	if (settings_load(&src, &s, &errs) == 0) {
		if (errs.n > 0)
			fail("loaded with mistakes", errs.text[0]);
		check_round_trip(s);
	} else if (errs.n == 0) {
		fail("refused without a reason", NULL);
	}
	errs_clear(&errs);
	return 0;
}
