/*
 * status_lines.c - see status_lines.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/status_lines.h"

#include "base/buf.h"
#include "model/status_view.h"
#include "model/text.h"
#include "model/values.h"

#include <stdio.h>
#include <string.h>

void
status_put_blanks(struct buf *out, size_t n)
{
	while (n-- > 0)
		(void)buf_putc(out, ' ');
}

void
status_put_wrapped(struct buf *out, const char *text, size_t at, size_t indent, size_t width)
{
	size_t start = at;

	while (*text != '\0') {
		size_t len = strcspn(text, " ");
		size_t gap = at > start ? 1 : 0;

		if (gap + len > width - at && at > indent && (at > start || start > indent)) {
			(void)buf_putc(out, '\n');
			status_put_blanks(out, indent);
			at = start = indent;
			gap = 0;
		}
		if (gap + len > width - at)
			len = width - at - gap;
		status_put_blanks(out, gap);
		(void)buf_append(out, text, len);
		at += gap + len;
		text += len;
		text += strspn(text, " ");
	}
	(void)buf_putc(out, '\n');
}

void
status_put_line(struct buf *out, size_t width, const char *fmt, ...)
{
	AUTO_BUF struct buf raw = BUF_INIT(STATUS_LINE_MAX);
	AUTO_BUF struct buf safe = BUF_INIT(6 * STATUS_LINE_MAX);
	va_list ap;

	va_start(ap, fmt);
	(void)buf_vprintf(&raw, fmt, ap);
	va_end(ap);
	if (raw.failed)		/* only a text of others can be that long */
		(void)buf_puts(&safe, "(too long to be shown; see preforkctl --json status)");
	else
		(void)text_put_safe(&safe, raw.data, TEXT_ASCII);
	if (safe.data != NULL)
		status_put_wrapped(out, safe.data, 0, STATUS_INDENT, width);
}

const char *
status_human_time(double seconds, char dst[static STATUS_CELL_MAX])
{
	value_human_time(view_ms(seconds), dst, STATUS_CELL_MAX);
	return dst;
}

const char *
status_human_size(uint64_t bytes, char dst[static STATUS_CELL_MAX])
{
	value_human_size(bytes, dst, STATUS_CELL_MAX);
	return dst;
}
