/*
 * buf.h - a byte string that grows up to a limit.
 *
 * Appending beyond the limit, or a failed allocation, sets the sticky flag
 * `failed` and leaves the content as it was; callers may append many times and
 * check once. data is always NUL-terminated once something was appended
 * (the NUL is not counted in len).
 */
#ifndef PREFORKD_BUF_H
#define PREFORKD_BUF_H

#include "base/base.h"

#include <stdarg.h>

struct buf {
	char *data;	/* owned; NULL while nothing was appended */
	size_t len;
	size_t cap;
	size_t limit;	/* bytes of content allowed */
	bool failed;
};

#define BUF_INIT(max_bytes) ((struct buf){ .limit = (max_bytes) })

void buf_free(struct buf *b);
void buf_clear(struct buf *b);			/* keeps the memory */
int buf_append(struct buf *b, const void *data, size_t len);
int buf_puts(struct buf *b, const char *s);
int buf_putc(struct buf *b, char c);
int buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
int buf_vprintf(struct buf *b, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);
/* Removes the first n bytes (n <= len). */
void buf_consume(struct buf *b, size_t n);
/* The content as an owned C string ("" when empty), b is empty afterwards;
 * NULL when b failed. */
char *buf_take(struct buf *b);

#define AUTO_BUF CLEANUP(buf_free)

#endif
