/*
 * message.c - parse and write the datagrams of a worker's channel.
 *
 * A datagram is trusted for nothing: it may be of any length and hold any byte.
 * The parser looks at each byte once and allocates nothing; on failure *ret is
 * untouched.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/message.h"

#include "base/buf.h"

#include <string.h>

enum value_kind { VALUE_NUMBER, VALUE_FLAG, VALUE_TEXT, VALUE_SIZES, VALUE_IGNORED };

struct key_row {
	const char *key;
	unsigned bit;
	enum value_kind kind;
	size_t offset;		/* of the number, or of the text's pointer */
	size_t len_offset;	/* of the text's length */
};

#define NUMBER(k, b, f) \
	{ k, b, VALUE_NUMBER, offsetof(struct message, f), 0 }
#define FLAG(k, b) \
	{ k, b, VALUE_FLAG, 0, 0 }
#define TEXT(k, b, f) \
	{ k, b, VALUE_TEXT, offsetof(struct message, f), offsetof(struct message, f##_len) }

static const struct key_row rows[] = {
	FLAG("READY", MK_READY),
	NUMBER("REQUESTS", MK_REQUESTS, requests),
	NUMBER("BUSY", MK_BUSY, busy),
	NUMBER("OLDEST_USEC", MK_OLDEST, oldest_usec),
	FLAG("WATCHDOG", MK_WATCHDOG),
	FLAG("STOPPING", MK_STOPPING),
	TEXT("ERROR", MK_ERROR, text),
	TEXT("STATUS", MK_STATUS, status),
	NUMBER("REPORT", MK_REPORT, report),
	FLAG("MORE", MK_MORE),
	TEXT("TEXT", MK_TEXT, text),
	TEXT("SERVER", MK_SERVER, server),
	FLAG("SYNC", MK_SYNC),
	FLAG("STACKS", MK_STACKS),
	{ "MAINPID", MK_MAINPID, VALUE_IGNORED, 0, 0 },
	NUMBER("LIMITS", MK_LIMITS, limits),
	FLAG("DRAIN", MK_DRAIN),
	NUMBER("GRACE_USEC", MK_GRACE, grace_usec),
	FLAG("REOPEN", MK_REOPEN),
	FLAG("CLOSE", MK_CLOSE),
	NUMBER("CONNECTIONS", MK_CONNECTIONS, connections),
	FLAG("BORN", MK_BORN),
	FLAG("FORKS", MK_FORKS),
	{ "TRIMMED", MK_TRIMMED, VALUE_SIZES, offsetof(struct message, trimmed), 0 },
	TEXT("UNTRIMMED", MK_UNTRIMMED, untrimmed),
	NUMBER("TOOK_USEC", MK_TOOK, took_usec),
	NUMBER("TRACED", MK_TRACED, traced),
};

static const struct key_row *
find_row(const char *key, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (strlen(rows[i].key) == len && memcmp(rows[i].key, key, len) == 0)
			return &rows[i];
	return NULL;
}

static int
parse_number(const char *s, size_t len, uint64_t *ret)
{
	uint64_t v = 0;

	if (len == 0)
		return -EBADMSG;
	for (size_t i = 0; i < len; i++) {
		unsigned digit = (unsigned)(s[i] - '0');

		if (s[i] < '0' || s[i] > '9')
			return -EBADMSG;
		if (v > (UINT64_MAX - digit) / 10)
			return -EBADMSG;
		v = v * 10 + digit;
	}
	*ret = v;
	return 0;
}

/* Exactly three sizes between commas. */
static int
parse_sizes(const char *s, size_t len, uint64_t ret[static 3])
{
	const char *end = s + len;

	for (int i = 0; i < 3; i++) {
		const char *comma = i < 2 ? memchr(s, ',', (size_t)(end - s)) : end;

		if (comma == NULL || parse_number(s, (size_t)(comma - s), &ret[i]) < 0 ||
		    ret[i] > MESSAGE_SIZE_MAX)
			return -EBADMSG;
		s = comma + 1;
	}
	return 0;
}

static int
parse_line(const char *line, size_t len, struct message *m)
{
	const char *eq = memchr(line, '=', len);
	const struct key_row *row;
	const char *value;
	size_t value_len;
	uint64_t number, sizes[3];

	if (eq == NULL || eq == line)
		return -EBADMSG;
	row = find_row(line, (size_t)(eq - line));
	if (row == NULL)
		return 0;
	value = eq + 1;
	value_len = len - (size_t)(value - line);
	switch (row->kind) {
	case VALUE_NUMBER:
		if (parse_number(value, value_len, &number) < 0)
			return -EBADMSG;
		memcpy((char *)m + row->offset, &number, sizeof number);
		break;
	case VALUE_FLAG:
		/* sd_notify(3) knows only "1"; READY=0 means "not ready", which is no news. */
		if (value_len != 1 || value[0] != '1')
			return 0;
		break;
	case VALUE_TEXT:
		memcpy((char *)m + row->offset, &value, sizeof value);
		memcpy((char *)m + row->len_offset, &value_len, sizeof value_len);
		break;
	case VALUE_SIZES:
		if (parse_sizes(value, value_len, sizes) < 0)
			return -EBADMSG;
		memcpy((char *)m + row->offset, sizes, sizeof sizes);
		break;
	case VALUE_IGNORED:
		break;
	}
	m->has |= row->bit;
	return 0;
}

int
message_parse(const char *data, size_t len, struct message *ret)
{
	struct message m = {0};
	size_t at = 0;

	if (len > MESSAGE_MAX)
		return -EMSGSIZE;
	while (at < len) {
		const char *nl = memchr(data + at, '\n', len - at);
		size_t line_len = nl != NULL ? (size_t)(nl - data) - at : len - at;
		int r;

		/* sd_notify(3) lets a message end in a newline. */
		if (line_len > 0) {
			r = parse_line(data + at, line_len, &m);
			if (r < 0)
				return r;
		}
		at += line_len + 1;
	}
	*ret = m;
	return 0;
}

void
message_text(const char *text, size_t len, struct buf *out)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '\\' && i + 1 < len && (text[i + 1] == 'n' || text[i + 1] == '\\'))
			c = text[++i] == 'n' ? '\n' : '\\';
		else if ((c < 0x20 && c != '\t') || c == 0x7f)
			c = '?';
		if (buf_putc(out, (char)c) < 0)
			return;
	}
}

char *
message_clean(const char *text, size_t len, size_t max)
{
	AUTO_BUF struct buf b = BUF_INIT(max);

	message_text(text, len, &b);
	b.failed = false;
	return buf_take(&b);
}

void
message_put_number(struct buf *out, const char *key, uint64_t value)
{
	buf_printf(out, "%s=%llu\n", key, (unsigned long long)value);
}

void
message_put_text(struct buf *out, const char *key, const char *text)
{
	buf_printf(out, "%s=", key);
	for (; *text != '\0'; text++) {
		if (*text == '\n')
			buf_puts(out, "\\n");
		else if (*text == '\\')
			buf_puts(out, "\\\\");
		else
			buf_putc(out, *text);
	}
	buf_putc(out, '\n');
}
