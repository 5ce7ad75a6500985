/*
 * text.c - words of others, made fit to be shown.
 *
 * The decoder accepts exactly the UTF-8 of RFC 3629: no overlong forms, no
 * surrogates, nothing above U+10FFFF. What it does not accept is handled byte by
 * byte, so no input is ever refused. Fails only for want of memory or room in the
 * buffer, which the buffer remembers.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/text.h"

#include "base/buf.h"

#include <string.h>

/* Length of the sequence at s (1..4) and its code point, or 0 when it is not UTF-8. */
static size_t
utf8_decode(const unsigned char *s, uint32_t *ret_code)
{
	static const struct {
		unsigned char mask, lead;
		uint32_t least;
	} forms[] = {
		{ 0x80, 0x00, 0x0 },
		{ 0xe0, 0xc0, 0x80 },
		{ 0xf0, 0xe0, 0x800 },
		{ 0xf8, 0xf0, 0x10000 },
	};

	for (size_t n = 0; n < ARRAY_LEN(forms); n++) {
		uint32_t code;

		if ((s[0] & forms[n].mask) != forms[n].lead)
			continue;
		code = s[0] & (unsigned char)~forms[n].mask;
		for (size_t i = 1; i <= n; i++) {
			if ((s[i] & 0xc0) != 0x80)
				return 0;
			code = code << 6 | (s[i] & 0x3f);
		}
		if (code < forms[n].least || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
			return 0;
		*ret_code = code;
		return n + 1;
	}
	return 0;
}

/* Characters that move the cursor, change colours or reorder what a person reads. */
static bool
is_unsafe(uint32_t code)
{
	return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x200e || code == 0x200f ||
	    (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

int
text_put_safe(struct buf *out, const char *s, unsigned flags)
{
	const unsigned char *p = (const unsigned char *)s;

	while (p != NULL && *p != '\0') {
		uint32_t code = 0;
		size_t n = utf8_decode(p, &code);
		int r;

		if (n == 0) {
			n = 1;
			r = buf_printf(out, "\\x%02x", *p);
		} else if ((code == '\n' || code == '\t') && (flags & TEXT_LINES) != 0) {
			r = buf_putc(out, (char)code);
		} else if (is_unsafe(code)) {
			r = buf_printf(out, code < 0x100 ? "\\x%02x" : "\\u%04x", code);
		} else if (code >= 0x80 && (flags & TEXT_ASCII) != 0) {
			r = buf_putc(out, '?');
		} else {
			r = buf_append(out, p, n);
		}
		if (r < 0)
			return r;
		p += n;
	}
	return 0;
}

json_t *
text_to_json(const char *s)
{
	AUTO_FREE char *copy = NULL;
	unsigned char *p;

	if (s == NULL)
		return json_null();
	copy = strdup(s);
	if (copy == NULL)
		return NULL;
	for (p = (unsigned char *)copy; *p != '\0';) {
		uint32_t code;
		size_t n = utf8_decode(p, &code);

		if (n == 0) {
			*p = '?';
			n = 1;
		}
		p += n;
	}
	return json_string_nocheck(copy);
}
