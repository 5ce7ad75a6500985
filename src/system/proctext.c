/*
 * proctext.c - parsers for what the kernel writes.
 *
 * All of them walk a cursor over the text once and never look beyond its end. A
 * number that does not fit 64 bits, or a missing field, makes the text bad.
 */
#include "system/proctext.h"

#include <limits.h>
#include <string.h>

struct cursor {
	const char *at;
	const char *end;
};

#define CURSOR(text, len) ((struct cursor){ (text), (text) + (len) })

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static void
skip_blanks(struct cursor *c)
{
	while (c->at < c->end && is_blank(*c->at))
		c->at++;
}

/* At the end of a number: nothing that could belong to it follows. */
static bool
at_break(const struct cursor *c)
{
	return c->at == c->end || is_blank(*c->at) || *c->at == '\n';
}

static bool
take_number(struct cursor *c, unsigned base, uint64_t *ret)
{
	const char *start = c->at;
	uint64_t v = 0;

	for (; c->at < c->end; c->at++) {
		unsigned char ch = (unsigned char)*c->at;
		unsigned digit;

		if (ch >= '0' && ch <= '9')
			digit = ch - (unsigned)'0';
		else if (base == 16 && ch >= 'a' && ch <= 'f')
			digit = ch - (unsigned)'a' + 10;
		else
			break;
		if (v > (UINT64_MAX - digit) / base)
			return false;
		v = v * base + digit;
	}
	if (c->at == start)
		return false;
	*ret = v;
	return true;
}

static bool
take_field(struct cursor *c, uint64_t *ret)
{
	uint64_t v;

	skip_blanks(c);
	if (!take_number(c, 10, &v) || !at_break(c))
		return false;
	*ret = v;
	return true;
}

static bool
take_pid(struct cursor *c, pid_t *ret)
{
	uint64_t v;

	if (!take_field(c, &v) || v > INT_MAX)
		return false;
	*ret = (pid_t)v;
	return true;
}

static bool
skip_field(struct cursor *c)
{
	skip_blanks(c);
	if (at_break(c))
		return false;
	while (!at_break(c))
		c->at++;
	return true;
}

static bool
take_word(struct cursor *c, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(c->end - c->at) < len || memcmp(c->at, word, len) != 0)
		return false;
	c->at += len;
	return true;
}

/* The next line without its newline; false at the end. */
static bool
take_line(struct cursor *c, struct cursor *ret)
{
	const char *nl;

	if (c->at == c->end)
		return false;
	nl = memchr(c->at, '\n', (size_t)(c->end - c->at));
	*ret = (struct cursor){ c->at, nl ? nl : c->end };
	c->at = nl ? nl + 1 : c->end;
	return true;
}

int
proctext_statm(const char *text, size_t len, uint64_t *ret_size, uint64_t *ret_resident)
{
	struct cursor c = CURSOR(text, len);
	uint64_t size, resident;

	if (!take_field(&c, &size) || !take_field(&c, &resident) || c.at == c.end)
		return -EBADMSG;
	*ret_size = size;
	*ret_resident = resident;
	return 0;
}

int
proctext_stat(const char *text, size_t len, struct proctext_stat *ret)
{
	struct cursor c = CURSOR(text, len);
	struct proctext_stat s = {0};
	const char *comm_end = memrchr(text, ')', len);

	if (!take_pid(&c, &s.pid) || !comm_end || comm_end < c.at)
		return -EBADMSG;
	c.at = comm_end + 1;
	skip_blanks(&c);
	if (c.at == c.end)
		return -EBADMSG;
	s.state = *c.at++;
	if (!take_pid(&c, &s.ppid) || !take_pid(&c, &s.pgrp))
		return -EBADMSG;
	for (unsigned field = 6; field < 23; field++)
		if (!skip_field(&c))
			return -EBADMSG;
	/* a text cut within the last number would pass for a smaller one */
	if (!take_field(&c, &s.vsize_bytes) || !take_field(&c, &s.rss_pages) || c.at == c.end)
		return -EBADMSG;
	*ret = s;
	return 0;
}

/* "  228 kB" up to the end of a line that is complete. */
static bool
take_kb(struct cursor *c, uint64_t *ret)
{
	uint64_t v;

	if (!take_field(c, &v))
		return false;
	skip_blanks(c);
	if (!take_word(c, "kB") || c->at != c->end)
		return false;
	*ret = v;
	return true;
}

int
proctext_kb(const char *text, size_t len, const char *key, uint64_t *ret)
{
	struct cursor c = CURSOR(text, len), line;
	uint64_t v;

	while (take_line(&c, &line)) {
		if (!take_word(&line, key))
			continue;
		if (line.end == text + len || !take_kb(&line, &v))
			return -EBADMSG;
		*ret = v;
		return 0;
	}
	return -EBADMSG;
}

int
proctext_rollup(const char *text, size_t len, struct proctext_rollup *ret)
{
	struct proctext_rollup found = {0};
	const struct {
		const char *key;
		uint64_t *to;
		bool may_lack;
	} fields[] = {
		{ "Rss:", &found.rss_kb, false },
		{ "Pss:", &found.pss_kb, false },
		{ "Private_Clean:", &found.private_clean_kb, false },
		{ "Private_Dirty:", &found.private_dirty_kb, false },
		{ "Private_Hugetlb:", &found.private_hugetlb_kb, true },
		{ "Swap:", &found.swap_kb, false },
	};
	struct cursor c = CURSOR(text, len), line;
	unsigned seen = 0;

	/* "12 k" is a text that was cut, and so is "12 kB" without an end of its line */
	while (take_line(&c, &line)) {
		for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
			if (!take_word(&line, fields[i].key))
				continue;
			if (line.end == text + len || !take_kb(&line, fields[i].to))
				return -EBADMSG;
			seen |= 1u << i;
			break;
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		if (!fields[i].may_lack && (seen & 1u << i) == 0)
			return -EBADMSG;
	*ret = found;
	return 0;
}

int
proctext_epoll_line(const char *line, size_t len, uint64_t *ret_ino)
{
	static const char key[] = "ino:";
	struct cursor c = CURSOR(line, len);
	uint64_t ino;

	skip_blanks(&c);
	if (!take_word(&c, "tfd:"))
		return -EBADMSG;
	c.at = memmem(c.at, (size_t)(c.end - c.at), key, sizeof(key) - 1);
	if (!c.at)
		return -EBADMSG;
	c.at += sizeof(key) - 1;
	if (!take_number(&c, 16, &ino) || !at_break(&c))
		return -EBADMSG;
	*ret_ino = ino;
	return 0;
}

int
proctext_keyed(const char *text, size_t len, const char *key, uint64_t *ret)
{
	struct cursor c = CURSOR(text, len), line;

	while (take_line(&c, &line)) {
		if (take_word(&line, key) && line.at < line.end && is_blank(*line.at))
			return take_field(&line, ret) ? 0 : -EBADMSG;
	}
	return -EBADMSG;
}

/* "avg10=12.34", in hundredths. */
static bool
take_percent(struct cursor *c, const char *key, uint64_t *ret)
{
	uint64_t whole, hundredths;
	const char *digits;

	skip_blanks(c);
	if (!take_word(c, key) || !take_number(c, 10, &whole) || whole > 100 || !take_word(c, "."))
		return false;
	digits = c->at;
	if (!take_number(c, 10, &hundredths) || c->at - digits != 2 || !at_break(c))
		return false;
	*ret = whole * 100 + hundredths;
	return true;
}

int
proctext_pressure(const char *text, size_t len, struct proctext_pressure *ret)
{
	struct cursor c = CURSOR(text, len), line;
	struct proctext_pressure p = {0};

	while (take_line(&c, &line)) {
		if (!take_word(&line, "some "))
			continue;
		if (line.end == text + len || !take_percent(&line, "avg10=", &p.avg10) ||
		    !take_percent(&line, "avg60=", &p.avg60) || !skip_field(&line))
			return -EBADMSG;
		skip_blanks(&line);
		if (!take_word(&line, "total=") || !take_field(&line, &p.total_us))
			return -EBADMSG;
		*ret = p;
		return 0;
	}
	return -EBADMSG;
}

static bool
take_limit(struct cursor *c, uint64_t *ret)
{
	skip_blanks(c);
	if (take_word(c, "max") || take_word(c, "-1")) {
		*ret = PROCTEXT_UNLIMITED;
		return at_break(c);
	}
	return take_field(c, ret);
}

int
proctext_number(const char *text, size_t len, uint64_t *ret)
{
	struct cursor c = CURSOR(text, len);
	uint64_t v;

	if (!take_limit(&c, &v))
		return -EBADMSG;
	skip_blanks(&c);
	if (c.at < c.end && *c.at != '\n')
		return -EBADMSG;
	*ret = v;
	return 0;
}

int
proctext_cpu_max(const char *text, size_t len, uint64_t *ret_quota, uint64_t *ret_period)
{
	struct cursor c = CURSOR(text, len);
	uint64_t quota, period;

	if (!take_limit(&c, &quota) || !take_field(&c, &period) || period == 0)
		return -EBADMSG;
	*ret_quota = quota;
	*ret_period = period;
	return 0;
}

/* Whether the comma-separated list holds the name. */
static bool
list_has(const char *list, size_t len, const char *name)
{
	size_t name_len = strlen(name);

	for (;;) {
		const char *comma = len ? memchr(list, ',', len) : NULL;
		size_t n = comma ? (size_t)(comma - list) : len;

		if (n == name_len && (n == 0 || memcmp(list, name, n) == 0))
			return true;
		if (!comma)
			return false;
		list = comma + 1;
		len -= n + 1;
	}
}

int
proctext_cgroup_path(const char *text, size_t len, const char *controller,
    const char **ret_path, size_t *ret_len)
{
	struct cursor c = CURSOR(text, len), line;

	while (take_line(&c, &line)) {
		uint64_t id;
		const char *colon;

		if (!take_number(&line, 10, &id) || !take_word(&line, ":"))
			continue;
		colon = memchr(line.at, ':', (size_t)(line.end - line.at));
		if (!colon || colon + 1 == line.end || colon[1] != '/' ||
		    !list_has(line.at, (size_t)(colon - line.at), controller))
			continue;
		*ret_path = colon + 1;
		*ret_len = (size_t)(line.end - colon - 1);
		return 0;
	}
	return -EBADMSG;
}
