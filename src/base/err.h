/*
 * err.h - reasons that a person will read.
 *
 * A function that can fail for more than one reason returns a negative errno
 * and also fills a struct err at the place that knows. errs is a bounded list
 * of such texts, for inputs whose mistakes are all reported at once.
 */
#ifndef PREFORKD_ERR_H
#define PREFORKD_ERR_H

#include "base/base.h"

#define ERR_TEXT_MAX 1024

struct err {
	int code;			/* positive errno, 0: none */
	char text[ERR_TEXT_MAX];	/* never empty when code != 0 */
};

/* Fills e (which may be NULL) and returns -code. code is a positive errno. */
int err_set(struct err *e, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* As err_set, with ": strerror(code)" after the text. */
int err_sys(struct err *e, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

#define ERRS_MAX 200	/* further ones are counted, not kept */

struct errs {
	size_t n;		/* texts kept */
	size_t dropped;
	char *text[ERRS_MAX];
};

/* Adds a text; an allocation that fails counts it as dropped. */
void errs_add(struct errs *errs, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Frees all texts and empties the list. */
void errs_clear(struct errs *errs);

#endif
