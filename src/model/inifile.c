/*
 * inifile.c - lines for inih that it cannot misread, whatever way it was built.
 *
 * inih is handed "[section]" and "key =" only, in lines that always fit its buffer
 * (200 bytes in Debian). The value stays with the reader and goes around the
 * library: its length and the characters in it then do not matter. A line with a
 * mistake reaches inih as an empty one.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/inifile.h"

#include "model/nearest.h"
#include "model/values.h"

#include <ini.h>
#include <stdio.h>
#include <string.h>

enum { SECTIONS_MAX = 8 };

struct reader {
	const char *file;
	const char *text;
	size_t left;
	unsigned line;

	const char *const *sections;
	unsigned section_line[SECTIONS_MAX];	/* where each was opened, 0: not yet */
	bool in_section;		/* a legal one: keys count */
	bool before_sections;
	bool said_before_sections;

	char buf[INIFILE_LINE_MAX + 1];	/* the current line */
	const char *value;		/* in buf, while inih has its key */
	char *to_inih;
	size_t to_inih_len;

	inifile_key_fn on_key;
	void *ctx;
	struct errs *errs;
	int result;
};

static void
mistake(struct reader *r, const char *what, const char *text)
{
	char quoted[VALUE_QUOTE_MAX];

	errs_add(r->errs, "%s:%u: %s%s%s", r->file, r->line, what, text ? ": " : "",
	    text ? value_quote(text, quoted, sizeof(quoted)) : "");
}

/* Copies the next line, without line end and trailing blanks, to r->buf. False: it has a
 * mistake. */
static bool
take_line(struct reader *r)
{
	const char *end = memchr(r->text, '\n', r->left);
	size_t len = end ? (size_t)(end - r->text) : r->left;
	const char *start = r->text;

	r->text += len + (end ? 1 : 0);
	r->left -= len + (end ? 1 : 0);
	r->line++;
	while (len > 0 && strchr(" \t\r", start[len - 1]))
		len--;
	if (len > INIFILE_LINE_MAX) {
		errs_add(r->errs, "%s:%u: the line has %zu characters; the limit is %d", r->file,
		    r->line, len, INIFILE_LINE_MAX);
		return false;
	}
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)start[i] < 0x20 && start[i] != '\t') {
			errs_add(r->errs, "%s:%u: control character %#04x in column %zu", r->file,
			    r->line, (unsigned)(unsigned char)start[i], i + 1);
			return false;
		}
	memcpy(r->buf, start, len);
	r->buf[len] = '\0';
	return true;
}

static void
open_section(struct reader *r)
{
	char *name = r->buf + 1;
	char *end = strchr(name, ']');
	struct nearest n;
	char quoted[VALUE_QUOTE_MAX];

	r->in_section = r->before_sections = false;
	if (!end || end[1] != '\0') {
		mistake(r, end ? "text after a section's ']'" : "a section's ']' is missing",
		    r->buf);
		return;
	}
	*end = '\0';
	n = NEAREST_INIT(name);
	for (size_t i = 0; i < SECTIONS_MAX && r->sections[i]; i++) {
		nearest_offer(&n, r->sections[i]);
		if (strcmp(r->sections[i], name) != 0)
			continue;
		if (r->section_line[i] > 0) {
			errs_add(r->errs, "%s:%u: section [%s] was opened before, in line %u",
			    r->file, r->line, name, r->section_line[i]);
		} else {
			r->section_line[i] = r->line;
		}
		r->in_section = true;
		snprintf(r->to_inih, r->to_inih_len, "[%s]\n", name);
		return;
	}
	value_quote(name, quoted, sizeof(quoted));
	if (n.best)
		errs_add(r->errs, "%s:%u: unknown section %s; did you mean [%s]?", r->file, r->line,
		    quoted, n.best);
	else
		errs_add(r->errs, "%s:%u: unknown section %s; the settings are in [%s]", r->file,
		    r->line, quoted, r->sections[0]);
}

static bool
is_key_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	    c == '-' || c == '_' || c == '.';
}

static void
take_key(struct reader *r)
{
	char *value = strchr(r->buf, '=');
	size_t len;

	if (!value) {
		mistake(r, "no '=' in this line (wanted: key = value)", r->buf);
		return;
	}
	len = (size_t)(value - r->buf);
	while (len > 0 && strchr(" \t", r->buf[len - 1]))
		len--;
	if (len == 0) {
		mistake(r, "no key before the '='", r->buf);
		return;
	}
	for (size_t i = 0; i < len; i++)
		if (!is_key_char(r->buf[i])) {
			mistake(r, "not a key (wanted: key = value)", r->buf);
			return;
		}
	/* '=', newline and NUL have to fit as well. */
	if (len > INIFILE_KEY_MAX || len + 3 > r->to_inih_len) {
		mistake(r, "this key is too long", r->buf);
		return;
	}
	value++;
	r->value = value + strspn(value, " \t");
	r->buf[len] = '\0';
	snprintf(r->to_inih, r->to_inih_len, "%s=\n", r->buf);
}

static void
convert_line(struct reader *r)
{
	const char *first;

	if (!take_line(r))
		return;
	first = r->buf + strspn(r->buf, " \t");
	if (*first == '\0' || *first == ';' || *first == '#')
		return;
	if (first != r->buf)
		mistake(r,
		    "this line is indented; a value is one line, and a key starts at the left"
		    " margin", first);
	else if (*first == '[')
		open_section(r);
	else if (r->in_section)
		take_key(r);
	else if (r->before_sections && !r->said_before_sections) {
		errs_add(r->errs, "%s:%u: a section has to come first: [%s]", r->file, r->line,
		    r->sections[0]);
		r->said_before_sections = true;
	}
}

/* inih's reader, like fgets. */
static char *
read_line(char *dst, int size, void *ctx)
{
	struct reader *r = ctx;

	if (r->left == 0 || r->result < 0)
		return NULL;
	r->value = NULL;
	r->to_inih = dst;
	r->to_inih_len = size > 0 ? (size_t)size : 0;
	snprintf(dst, r->to_inih_len, "\n");
	convert_line(r);
	return dst;
}

static int
handle_key(void *ctx, const char *section, const char *key, const char *value UNUSED)
{
	struct reader *r = ctx;
	int result;

	if (!r->value || r->result < 0)
		return 1;
	result = r->on_key(r->ctx, section, key, r->value, r->line);
	if (result < 0)
		r->result = result;
	return 1;
}

int
inifile_parse(const char *file, const char *text, size_t len, const char *const *sections,
    inifile_key_fn on_key, void *ctx, struct errs *errs)
{
	static const char bom[] = "\xef\xbb\xbf";
	struct reader *r AUTO_FREE = calloc(1, sizeof(*r));
	int result;

	if (!r)
		return -ENOMEM;
	r->file = file;
	r->text = text;
	r->left = len;
	r->sections = sections;
	r->before_sections = true;
	r->on_key = on_key;
	r->ctx = ctx;
	r->errs = errs;
	if (len >= sizeof(bom) - 1 && memcmp(text, bom, sizeof(bom) - 1) == 0) {
		r->text += sizeof(bom) - 1;
		r->left -= sizeof(bom) - 1;
	}
	result = ini_parse_stream(read_line, r, handle_key, r);
	if (r->result < 0)
		return r->result;
	if (result == -2)
		return -ENOMEM;
	/* Cannot happen with the lines that it gets; never take half a file for a whole. */
	if (result != 0)
		errs_add(errs, "%s:%u: this line cannot be read", file, r->line);
	return 0;
}
