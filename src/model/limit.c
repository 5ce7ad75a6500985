/*
 * limit.c - limits on memory, from text and to bytes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/limit.h"

#include "base/buf.h"
#include "model/values.h"

#include <inttypes.h>
#include <string.h>

uint64_t
limit_bytes(struct limit l, uint64_t fresh, uint64_t whole)
{
	switch (l.kind) {
	case LIMIT_OFF:
	case LIMIT_AUTO:
		return 0;
	case LIMIT_SIZE:
		return l.value;
	case LIMIT_FRESH:
		return fresh / 100 * l.value + fresh % 100 * l.value / 100;
	case LIMIT_PERCENT:
		return whole / 100 * l.value + whole % 100 * l.value / 100;
	}
	return 0;
}

static int
complain(struct err *e, int code, const char *text, const char *what)
{
	char quoted[VALUE_QUOTE_MAX];

	return err_set(e, code, "%s %s", value_quote(text, quoted, sizeof(quoted)), what);
}

/* Digits, and with `places` up to two more behind a point; nothing else. In hundredths. */
static bool
read_hundredths(const char *text, size_t len, bool places, uint64_t *ret)
{
	uint64_t v = 0, unit = 100;
	bool any = false, behind = false;

	if (len > 12)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '.' && places && any && !behind) {
			behind = true;
			continue;
		}
		if (text[i] < '0' || text[i] > '9' || (behind && unit == 1))
			return false;
		any = true;
		if (behind)
			unit /= 10;
		v = behind ? v + (uint64_t)(text[i] - '0') * unit
		    : v * 10 + (uint64_t)(text[i] - '0') * 100;
	}
	*ret = v;
	return any && text[len - 1] != '.';
}

int
limit_parse(const char *text, struct limit *ret, struct err *e)
{
	size_t len = strlen(text);
	char last = len > 0 ? text[len - 1] : '\0';
	uint64_t v;
	int r;

	if (last == '%') {
		if (!read_hundredths(text, len - 1, false, &v))
			return complain(e, EINVAL, text, "is not a percentage from 1% to 100%");
		if (v < 100 || v > 10000)
			return complain(e, ERANGE, text, "is out of range: from 1% to 100%");
		*ret = (struct limit){ .kind = LIMIT_PERCENT, .value = v / 100 };
		return 0;
	}
	if (last == 'x' || last == 'X') {
		if (!read_hundredths(text, len - 1, true, &v))
			return complain(e, EINVAL, text, "is not a multiple of a fresh worker's"
			    " memory such as 2.5x");
		if (v < LIMIT_FRESH_MIN || v > LIMIT_FRESH_MAX)
			return complain(e, ERANGE, text, "is out of range: from 1.1x to 100x of a"
			    " fresh worker");
		*ret = (struct limit){ .kind = LIMIT_FRESH, .value = v };
		return 0;
	}
	r = value_parse_size(text, &v, e);
	if (r == 0)
		*ret = limit_size(v);
	return r;
}

int
limit_print(struct limit l, struct buf *out)
{
	switch (l.kind) {
	case LIMIT_OFF:
		break;
	case LIMIT_AUTO:
		return buf_puts(out, "auto");
	case LIMIT_SIZE:
		return value_print_size(l.value, out);
	case LIMIT_FRESH:
		if (l.value % 100 == 0)
			return buf_printf(out, "%" PRIu64 "x", l.value / 100);
		if (l.value % 10 == 0)
			return buf_printf(out, "%" PRIu64 ".%" PRIu64 "x", l.value / 100,
			    l.value % 100 / 10);
		return buf_printf(out, "%" PRIu64 ".%02" PRIu64 "x", l.value / 100, l.value % 100);
	case LIMIT_PERCENT:
		return buf_printf(out, "%" PRIu64 "%%", l.value);
	}
	return buf_puts(out, "0");
}
