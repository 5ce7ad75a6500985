/*
 * values_print.c - numbers to text: exact for files, rounded for people.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/values.h"

#include "base/buf.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int
value_print_size(uint64_t bytes, struct buf *out)
{
	static const char letters[] = "BKMGT";
	size_t i = 0;

	if (bytes == 0)
		return buf_puts(out, "0");
	while (bytes % 1024 == 0 && letters[i + 1] != '\0') {
		bytes /= 1024;
		i++;
	}
	return buf_printf(out, "%" PRIu64 "%c", bytes, letters[i]);
}

int
value_print_time(uint64_t ms, struct buf *out)
{
	static const struct { uint64_t ms; const char *word; } units[] = {
		{ 86400000, "d" }, { 3600000, "h" }, { 60000, "min" }, { 1000, "s" },
	};

	if (ms == 0)
		return buf_puts(out, "0");
	for (size_t i = 0; i < ARRAY_LEN(units); i++)
		/* 60s says more than 1min, as 90s does: a unit is worth it from two up. */
		if (ms % units[i].ms == 0 && (ms >= 2 * units[i].ms || units[i].ms == 1000))
			return buf_printf(out, "%" PRIu64 "%s", ms / units[i].ms, units[i].word);
	return buf_printf(out, "%" PRIu64 "ms", ms);
}

void
value_human_size(uint64_t bytes, char *dst, size_t len)
{
	static const char letters[] = "KMGTPE";
	uint64_t whole = bytes, rest = 0, tenths;
	size_t i;

	if (bytes < 1024) {
		snprintf(dst, len, "%" PRIu64 "B", bytes);
		return;
	}
	for (i = 0; i < 6; i++) {
		rest = whole % 1024;
		whole /= 1024;
		if (whole < 1024)
			break;
	}
	tenths = (rest * 10 + 512) / 1024;
	if (tenths == 10) {
		tenths = 0;
		whole++;
	}
	if (whole == 1024 && i < 5) {
		whole = 1;
		i++;
	}
	snprintf(dst, len, "%" PRIu64 ".%" PRIu64 "%c", whole, tenths, letters[i]);
}

static uint64_t
divide_rounded(uint64_t n, uint64_t unit)
{
	return n / unit + (n % unit >= unit / 2);
}

void
value_human_time(uint64_t ms, char *dst, size_t len)
{
	uint64_t tenths = divide_rounded(ms, 100);
	uint64_t s = divide_rounded(ms, 1000);
	uint64_t min = divide_rounded(ms, 60000);
	uint64_t h = divide_rounded(ms, 3600000);

	if (ms < 1000)
		snprintf(dst, len, "%" PRIu64 "ms", ms);
	else if (tenths < 100)
		snprintf(dst, len, "%" PRIu64 ".%" PRIu64 "s", tenths / 10, tenths % 10);
	else if (s < 60)
		snprintf(dst, len, "%" PRIu64 "s", s);
	else if (s < 3600)
		snprintf(dst, len, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
	else if (min < 1440)
		snprintf(dst, len, "%" PRIu64 "h%02" PRIu64 "m", min / 60, min % 60);
	else
		snprintf(dst, len, "%" PRIu64 "d%02" PRIu64 "h", h / 24, h % 24);
}

const char *
value_quote(const char *text, char *dst, size_t dst_len)
{
	static const char dots[] = "...'";
	size_t room = dst_len - sizeof(dots) - 1;
	size_t len = strlen(text);
	bool is_cut = len > room;
	size_t at = 0;

	if (is_cut) {
		len = room;
		/* not in the middle of a UTF-8 sequence */
		while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
			len--;
	}
	dst[at++] = '\'';
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		dst[at++] = c < 0x20 || c == 0x7f ? '?' : text[i];
	}
	snprintf(dst + at, dst_len - at, "%s", is_cut ? dots : "'");
	return dst;
}
