/*
 * values.c - text to number, strictly.
 *
 * Arithmetic is exact and checked: a number that does not fit is -ERANGE, never
 * a smaller one. Nothing here depends on the locale.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/values.h"

#include "base/buf.h"

#include <string.h>
#include <strings.h>

static const char blanks[] = " \t";

struct unit {
	const char *word;
	uint64_t factor;
};

/* "12.5 min": the digits and what follows them. */
struct number {
	uint64_t whole;
	uint64_t fraction;	/* millionths */
	const char *unit;	/* not terminated */
	size_t unit_len;
};

enum { FRACTION_DIGITS = 6, FRACTION_ONE = 1000000 };

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Sets *ret to the first character and returns the length without blanks around. */
static size_t
trim(const char *text, const char **ret)
{
	size_t len;

	text += strspn(text, blanks);
	len = strlen(text);
	while (len > 0 && strchr(blanks, text[len - 1]))
		len--;
	*ret = text;
	return len;
}

static int
complain(struct err *e, int code, const char *text, const char *what)
{
	char quoted[VALUE_QUOTE_MAX];

	return err_set(e, code, "%s %s", value_quote(text, quoted, sizeof(quoted)), what);
}

/* Reads base-10 or base-8 digits from *p up to end. -ERANGE when it does not fit. */
static int
read_digits(const char **p, const char *end, unsigned base, uint64_t *ret)
{
	uint64_t v = 0;
	int r = 0;

	while (*p < end && is_digit(**p) && (unsigned)(**p - '0') < base) {
		if (__builtin_mul_overflow(v, base, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(**p - '0'), &v))
			r = -ERANGE;
		(*p)++;
	}
	*ret = v;
	return r;
}

int
value_parse_count(const char *text, uint64_t *ret, struct err *e)
{
	const char *p;
	size_t len = trim(text, &p);
	const char *end = p + len;
	uint64_t v;
	int r;

	if (len == 0)
		return complain(e, EINVAL, text, "is empty; a whole number is wanted");
	if (*p == '-')
		return complain(e, EINVAL, text, "is negative; a whole number is wanted");
	r = read_digits(&p, end, 10, &v);
	if (p != end)
		return complain(e, EINVAL, text, "is not a whole number");
	if (r < 0)
		return complain(e, ERANGE, text, "is too large");
	*ret = v;
	return 0;
}

int
value_parse_int(const char *text, int64_t *ret, struct err *e)
{
	const char *p;
	size_t len = trim(text, &p);
	const char *end = p + len;
	bool negative = len > 0 && *p == '-';
	uint64_t v;
	int r;

	if (len > 0 && (*p == '-' || *p == '+'))
		p++;
	if (p == end)
		return complain(e, EINVAL, text, "is not a whole number");
	r = read_digits(&p, end, 10, &v);
	if (p != end)
		return complain(e, EINVAL, text, "is not a whole number");
	if (r < 0 || v > INT64_MAX)
		return complain(e, ERANGE, text, negative ? "is too small" : "is too large");
	*ret = negative ? -(int64_t)v : (int64_t)v;
	return 0;
}

/* Splits a decimal number from its unit. */
static int
read_number(const char *text, struct number *ret, struct err *e)
{
	struct number n = {0};
	const char *p, *start;
	size_t len = trim(text, &p);
	const char *end = p + len;
	bool has_digits;
	int r;

	if (len == 0)
		return complain(e, EINVAL, text, "is empty");
	if (*p == '-')
		return complain(e, EINVAL, text, "is negative");
	start = p;
	r = read_digits(&p, end, 10, &n.whole);
	has_digits = p > start;
	if (p < end && *p == '.') {
		uint64_t weight = FRACTION_ONE / 10;

		start = ++p;
		while (p < end && is_digit(*p)) {
			n.fraction += (uint64_t)(*p - '0') * weight;
			weight /= 10;
			p++;
		}
		if (p == start)
			return complain(e, EINVAL, text, "has no digits after the point");
		if (p - start > FRACTION_DIGITS)
			return complain(e, EINVAL, text, "has too many digits after the point");
	}
	if (!has_digits)
		return complain(e, EINVAL, text, "does not start with a number");
	if (r < 0)
		return complain(e, ERANGE, text, "is too large");
	p += strspn(p, blanks);
	n.unit = p;
	n.unit_len = (size_t)(end - p);
	*ret = n;
	return 0;
}

static const struct unit *
find_unit(const struct unit *units, size_t n, const struct number *number)
{
	for (size_t i = 0; i < n; i++)
		if (strlen(units[i].word) == number->unit_len &&
		    strncasecmp(units[i].word, number->unit, number->unit_len) == 0)
			return &units[i];
	return NULL;
}

/* number x factor; what is not zero never becomes zero. */
static int
scale(const char *text, const struct number *n, uint64_t factor, const char *smallest,
    uint64_t *ret, struct err *e)
{
	uint64_t v, part;

	/* The largest factor is 2^40 and a fraction has 20 bits, so this fits. */
	part = n->fraction * factor / FRACTION_ONE;
	if (__builtin_mul_overflow(n->whole, factor, &v) ||
	    __builtin_add_overflow(v, part, &v))
		return complain(e, ERANGE, text, "is too large");
	if (v == 0 && n->fraction > 0) {
		char quoted[VALUE_QUOTE_MAX];

		return err_set(e, ERANGE, "%s is less than %s",
		    value_quote(text, quoted, sizeof(quoted)), smallest);
	}
	*ret = v;
	return 0;
}

/* A bare number was written: say what it probably means. */
static int
complain_no_unit(const char *text, const struct number *n, struct err *e)
{
	char quoted[VALUE_QUOTE_MAX];
	AUTO_BUF struct buf likely = BUF_INIT(64);

	value_quote(text, quoted, sizeof(quoted));
	/* Nobody limits a worker to a million megabytes: those are bytes. */
	if (n->whole >= (UINT64_C(1) << 20)) {
		value_print_size(n->whole, &likely);
		return err_set(e, EINVAL, "%s has no unit; if it is in bytes, write %s",
		    quoted, likely.data ? likely.data : "a size such as 300M");
	}
	if (n->fraction > 0)
		return err_set(e, EINVAL, "%s has no unit; write K, M or G after it", quoted);
	return err_set(e, EINVAL, "%s has no unit; write %lluM if megabytes are meant",
	    quoted, (unsigned long long)n->whole);
}

int
value_parse_size(const char *text, uint64_t *ret_bytes, struct err *e)
{
	static const struct unit units[] = {
		{ "B", 1 },
		{ "K", UINT64_C(1) << 10 }, { "KB", UINT64_C(1) << 10 },
		{ "Ki", UINT64_C(1) << 10 }, { "KiB", UINT64_C(1) << 10 },
		{ "M", UINT64_C(1) << 20 }, { "MB", UINT64_C(1) << 20 },
		{ "Mi", UINT64_C(1) << 20 }, { "MiB", UINT64_C(1) << 20 },
		{ "G", UINT64_C(1) << 30 }, { "GB", UINT64_C(1) << 30 },
		{ "Gi", UINT64_C(1) << 30 }, { "GiB", UINT64_C(1) << 30 },
		{ "T", UINT64_C(1) << 40 }, { "TB", UINT64_C(1) << 40 },
		{ "Ti", UINT64_C(1) << 40 }, { "TiB", UINT64_C(1) << 40 },
	};
	const struct unit *unit;
	struct number n = {0};
	int r;

	r = read_number(text, &n, e);
	if (r < 0)
		return r;
	if (n.unit_len == 0) {
		if (n.whole > 0 || n.fraction > 0)
			return complain_no_unit(text, &n, e);
		*ret_bytes = 0;
		return 0;
	}
	if (n.unit_len == 1 && *n.unit == '%')
		return complain(e, EINVAL, text, "is a share of the whole pool's memory, but this"
		    " limit is for one worker; write a size such as 300M");
	unit = find_unit(units, ARRAY_LEN(units), &n);
	if (!unit)
		return complain(e, EINVAL, text, "is not a size; write for example 512K, 300M or"
		    " 1.5G (M is MiB)");
	return scale(text, &n, unit->factor, "a byte", ret_bytes, e);
}

int
value_parse_time(const char *text, uint64_t *ret_ms, struct err *e)
{
	static const struct unit units[] = {
		{ "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "sec", 1000 },
		{ "m", 60000 }, { "min", 60000 }, { "h", 3600000 }, { "d", 86400000 },
	};
	const struct unit *unit;
	struct number n = {0};
	int r;

	r = read_number(text, &n, e);
	if (r < 0)
		return r;
	unit = find_unit(units, ARRAY_LEN(units), &n);
	if (!unit)
		return complain(e, EINVAL, text, "is not a time; write seconds, or for example"
		    " 500ms, 10s, 5min, 2h, 1d");
	return scale(text, &n, unit->factor, "a millisecond", ret_ms, e);
}

int
value_parse_bool(const char *text, bool *ret, struct err *e)
{
	static const struct { const char *word; bool value; } words[] = {
		{ "yes", true }, { "no", false }, { "true", true }, { "false", false },
		{ "on", true }, { "off", false }, { "1", true }, { "0", false },
	};
	const char *p;
	size_t len = trim(text, &p);

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strlen(words[i].word) == len && strncasecmp(words[i].word, p, len) == 0) {
			*ret = words[i].value;
			return 0;
		}
	return complain(e, EINVAL, text, "is neither yes nor no");
}

int
value_parse_mode(const char *text, uint64_t *ret, struct err *e)
{
	const char *p, *start;
	size_t len = trim(text, &p);
	const char *end = p + len;
	uint64_t v;
	int r;

	if (len > 2 && p[0] == '0' && (p[1] == 'o' || p[1] == 'O'))
		p += 2;
	start = p;
	r = read_digits(&p, end, 8, &v);
	if (p != end || p == start)
		return complain(e, EINVAL, text, "is not an octal mode such as 0660");
	if (r < 0 || v > 07777)
		return complain(e, ERANGE, text, "is not an octal mode: above 07777");
	*ret = v;
	return 0;
}
