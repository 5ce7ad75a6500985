/*
 * setting.h - one field of struct settings, by its row of the option table.
 *
 * The only code that writes through an offset. Used by settings.c and its
 * neighbours and by the tests; everybody else reads struct settings.
 */
#ifndef PREFORKD_SETTING_H
#define PREFORKD_SETTING_H

#include "base/base.h"
#include "base/err.h"
#include "model/options.h"
#include "model/settings.h"

struct buf;

/*
 * Parses text as the option's type wants, checks its range and stores it in place of the
 * old value; a list is added to. Paths start from base_dir. Returns 0, or -EINVAL,
 * -ERANGE or -ENOMEM with e, and the field as it was.
 */
int setting_set(struct settings *s, const struct option *o, const char *text,
    const char *base_dir, struct err *e);

/* Empties the field: NULL, 0, no elements. */
void setting_clear(struct settings *s, const struct option *o);

/* Appends the text that setting_set reads back to the same value; nothing for a string
 * that is not set. A list is printed with commas. */
int setting_print(const struct settings *s, const struct option *o, struct buf *out);

/* Adds a copy of text. Returns 0 or -ENOMEM. */
int string_list_add(struct string_list *l, const char *text);
void string_list_clear(struct string_list *l);

/* Adds copies of both. Returns 0 or -ENOMEM. */
int pair_list_add(struct pair_list *l, const char *key, const char *value, unsigned line);
void pair_list_clear(struct pair_list *l);

#endif
