/*
 * text.h - words of others, made fit to be shown. Pure.
 *
 * Names, paths, tracebacks and status lines come from applications and users. They
 * may hold terminal escapes or bytes that are no UTF-8; what goes to a terminal or
 * into JSON goes through here.
 */
#ifndef PREFORKD_TEXT_H
#define PREFORKD_TEXT_H

#include "base/base.h"

#include <jansson.h>

struct buf;

enum {
	TEXT_LINES = 1 << 0,	/* newline and tab stay as they are */
	TEXT_ASCII = 1 << 1,	/* every other character becomes one '?' */
};

/*
 * Appends s; control characters (C0, DEL, C1, and those that turn the direction of
 * writing) and invalid bytes are written as \xNN or \uNNNN. NULL appends nothing.
 */
int text_put_safe(struct buf *out, const char *s, unsigned flags);

/* A JSON string, invalid bytes replaced by '?'; JSON null for NULL. NULL: no memory. */
json_t *text_to_json(const char *s);

#endif
