/*
 * status_lines.h - lines for a terminal that are no longer than it is wide. Pure.
 */
#ifndef PREFORKD_STATUS_LINES_H
#define PREFORKD_STATUS_LINES_H

#include "base/base.h"

struct buf;
struct status_view;

#define STATUS_LINE_MAX 8192	/* bytes of one line before it is wrapped */
#define STATUS_CELL_MAX 24
#define STATUS_INDENT   2	/* of what goes on in the next line */

void status_put_blanks(struct buf *out, size_t n);

/* Appends text from column `at` on, broken at blanks so that no line is longer than width;
 * further lines begin at column `indent`. A word that fits no line is broken. */
void status_put_wrapped(struct buf *out, const char *text, size_t at, size_t indent,
    size_t width);

/* One line of the header, made safe for a terminal and wrapped. */
void status_put_line(struct buf *out, size_t width, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* status_memory.c: how workers start, and the memory of all of them. */
void status_put_molds(const struct status_view *v, size_t width, struct buf *out);
void status_put_memory(const struct status_view *v, size_t width, struct buf *out);

/* Return dst. */
const char *status_human_time(double seconds, char dst[static STATUS_CELL_MAX]);
const char *status_human_size(uint64_t bytes, char dst[static STATUS_CELL_MAX]);

#endif
