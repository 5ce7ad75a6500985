/*
 * fuzz_values.c - any text as a number, size, time, mode, command line or address.
 *
 * What is accepted must print to a text that is read back to the same; what is refused
 * must say why and write nothing.
 */
#include "base/buf.h"
#include "model/sockets.h"
#include "model/values.h"

#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
fail(const char *what, const char *text)
{
	fprintf(stderr, "%s: %s\n", what, text);
	abort();
}

typedef int (*parse_fn)(const char *text, uint64_t *ret, struct err *e);
typedef int (*print_fn)(uint64_t n, struct buf *out);

static void
check_number(const char *name, const char *text, parse_fn parse, print_fn print)
{
	const uint64_t untouched = UINT64_C(0x5a5a5a5a5a5a5a5a);
	struct buf out AUTO_BUF = BUF_INIT(100);
	uint64_t v = untouched, again;
	struct err e = {0};
	int r = parse(text, &v, &e);

	if (r < 0) {
		if (v != untouched || e.text[0] == '\0' || e.code != -r)
			fail(name, text);
		return;
	}
	if (print && (print(v, &out) < 0 || parse(out.data, &again, &e) < 0 || again != v))
		fail(name, text);
}

static void
check_words(const char *text)
{
	struct err e = {0};
	char **words = value_split_words(text, &e);
	size_t len = 0;

	if (!words) {
		if (e.text[0] == '\0')
			fail("words", text);
		return;
	}
	for (char **w = words; *w; w++)
		len += strlen(*w);
	if (!words[0] || len > strlen(text))
		fail("words", text);
	values_free_words(words);
}

static void
check_address(const char *text)
{
	struct address a, again, named;
	struct err e = {0};

	if (address_parse(text, "/base", &a, &e) < 0) {
		if (e.text[0] == '\0')
			fail("address", text);
		return;
	}
	/* A control character is shown as '?', so such a name is another one. */
	for (const char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return;
	if (address_parse(a.text, NULL, &again, &e) < 0 || !address_equal(&a, &again) ||
	    a.sa_len != again.sa_len || memcmp(&a.sa, &again.sa, a.sa_len) != 0)
		fail("address", text);
	if (a.sa_len == 0)
		return;
	address_from_sockaddr((const void *)&a.sa, a.sa_len, &named);
	if (!address_equal(&a, &named))
		fail("address", text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text AUTO_FREE = strndup((const char *)data, size);
	char quoted[VALUE_QUOTE_MAX], human[16];
	int64_t i;
	uint64_t n;
	bool b;

	if (!text)
		return 0;
	check_number("count", text, value_parse_count, NULL);
	check_number("size", text, value_parse_size, value_print_size);
	check_number("time", text, value_parse_time, value_print_time);
	check_number("mode", text, value_parse_mode, NULL);
	value_parse_int(text, &i, NULL);
	value_parse_bool(text, &b, NULL);
	check_words(text);
	check_address(text);
	if (strlen(value_quote(text, quoted, sizeof(quoted))) < 2)
		fail("quote", text);
	if (size >= sizeof(n)) {
		memcpy(&n, data, sizeof(n));
		value_human_size(n, human, sizeof(human));
		value_human_time(n, human, sizeof(human));
	}
	return 0;
}
