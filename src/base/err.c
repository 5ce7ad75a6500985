/*
 * err.c - texts for people, carried up to the caller who reports them.
 *
 * Nothing here fails: a text that does not fit is cut, a list that is full or a
 * failed allocation is counted in `dropped`.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static PRINTF_LIKE(3, 0) void
err_fill(struct err *e, int code, const char *fmt, va_list ap)
{
	int n;

	e->code = code;
	n = vsnprintf(e->text, sizeof(e->text), fmt, ap);
	if (n <= 0)
		snprintf(e->text, sizeof(e->text), "%s", strerror(code));
}

int
err_set(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	if (e) {
		va_start(ap, fmt);
		err_fill(e, code, fmt, ap);
		va_end(ap);
	}
	return -code;
}

int
err_sys(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;
	size_t len;

	if (e) {
		va_start(ap, fmt);
		err_fill(e, code, fmt, ap);
		va_end(ap);
		len = strlen(e->text);
		snprintf(e->text + len, sizeof(e->text) - len, ": %s", strerror(code));
	}
	return -code;
}

void
errs_add(struct errs *errs, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	int n;

	if (errs->n == ERRS_MAX) {
		errs->dropped++;
		return;
	}
	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		errs->dropped++;
	else
		errs->text[errs->n++] = text;
}

void
errs_clear(struct errs *errs)
{
	for (size_t i = 0; i < errs->n; i++)
		free(errs->text[i]);
	errs->n = 0;
	errs->dropped = 0;
}
