/*
 * inifile.h - an ini file as a stream of (section, key, value, line).
 *
 * inih does the splitting; around it stands a reader of our own, because the library
 * cuts lines of more than about 190 characters, takes " ;" for a comment in the middle
 * of a command, joins indented lines by calling the handler again, and tells no line
 * numbers. Here a line may have INIFILE_LINE_MAX characters and everything that is not
 * clearly a section, a key with a value, a comment or a blank line is a mistake.
 *
 * Lines: "[section]", "key = value", comments that start with ';' or '#' in any column.
 * A value is everything after the first '=', without the blanks around it.
 */
#ifndef PREFORKD_INIFILE_H
#define PREFORKD_INIFILE_H

#include "base/base.h"
#include "base/err.h"

#define INIFILE_LINE_MAX 8000
#define INIFILE_KEY_MAX  128

/* One key. The strings live until the call returns. Returns 0 or a negative errno, which
 * is kept for inifile_parse's result; mistakes go to errs and return 0. */
typedef int (*inifile_key_fn)(void *ctx, const char *section, const char *key,
    const char *value, unsigned line);

/*
 * Reads the whole text. sections is a NULL-terminated list of the legal ones; the keys of
 * another section are skipped. Every mistake is added to errs as "file:line: message".
 * Returns 0 (also with mistakes) or a negative errno.
 */
int inifile_parse(const char *file, const char *text, size_t len,
    const char *const *sections, inifile_key_fn on_key, void *ctx, struct errs *errs);

#endif
