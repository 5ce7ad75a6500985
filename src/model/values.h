/*
 * values.h - text to number and back, strictly.
 *
 * Every parser consumes the whole string, allows blanks around it, and on error
 * returns -EINVAL or -ERANGE with e->text saying what is wrong and what would be
 * right; *ret is written only on success.
 */
#ifndef PREFORKD_VALUES_H
#define PREFORKD_VALUES_H

#include "base/base.h"
#include "base/err.h"

struct buf;

int value_parse_count(const char *text, uint64_t *ret, struct err *e);
int value_parse_int(const char *text, int64_t *ret, struct err *e);
/* 300M, 1.5G, 512K, with i/B/iB spellings; M is MiB. A bare number is an error that
 * names the likely meaning. */
int value_parse_size(const char *text, uint64_t *ret_bytes, struct err *e);
/* 30, 1.5, 500ms, 10s, 5min, 5m, 2h, 1d; a bare number is seconds. */
int value_parse_time(const char *text, uint64_t *ret_ms, struct err *e);
int value_parse_bool(const char *text, bool *ret, struct err *e);
int value_parse_mode(const char *text, uint64_t *ret, struct err *e);

/* Exact inverse: the text parses back to the same number. */
int value_print_size(uint64_t bytes, struct buf *out);
int value_print_time(uint64_t ms, struct buf *out);

/* For people, rounded: "312.4M", "1.2G"; "90ms", "1.5s", "3m20s", "2h05m", "3d04h".
 * dst always ends up NUL-terminated. */
void value_human_size(uint64_t bytes, char *dst, size_t len);
void value_human_time(uint64_t ms, char *dst, size_t len);

/* The text in single quotes for an error message: cut when long, control characters
 * shown as '?'. dst_len > 16. Returns dst. */
#define VALUE_QUOTE_MAX 80
const char *value_quote(const char *text, char *dst, size_t dst_len);

/* Splits a command line into words: blanks, '...', "..." with \" and \\, and \x
 * outside quotes. No expansion; what only a shell understands (; | & < > # at the start
 * of an unquoted word) is an error that says so. Returns an owned NULL-terminated array
 * (values_free_words), or NULL with e set. */
char **value_split_words(const char *text, struct err *e);
void values_free_words(char **words);

#endif
