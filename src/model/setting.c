/*
 * setting.c - text into one field of struct settings.
 *
 * Each setter parses into a local and stores last, so that a mistake leaves the
 * field as it was.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/setting.h"

#include "base/buf.h"
#include "model/nearest.h"
#include "model/paths.h"
#include "model/sockets.h"
#include "model/values.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
	STRING_MAX = 7000,	/* so that "key = value" always fits a line of the ini */
	PERCENT_MAX = 100,
};

static void *
field(struct settings *s, const struct option *o)
{
	return (char *)s + o->offset;
}

static int
complain(struct err *e, const char *text, const char *what)
{
	char quoted[VALUE_QUOTE_MAX];

	return err_set(e, EINVAL, "%s %s", value_quote(text, quoted, sizeof(quoted)), what);
}

static int
store_string(char **at, const char *text, struct err *e)
{
	char *copy = strdup(text);

	if (!copy)
		return err_set(e, ENOMEM, "out of memory");
	base_replace(at, copy);
	return 0;
}

static int
set_string(struct settings *s, const struct option *o, const char *text,
    const char *base_dir, struct err *e)
{
	char **at = field(s, o);
	struct address a;
	int r;

	if (o->flags & OPTF_PATH_LIST)
		return path_list_resolve(text, base_dir, STRING_MAX, at, e);
	if ((o->flags & OPTF_PROGRAM) && strchr(text, '/'))
		return path_resolve(text, base_dir, at, e);
	if (o->flags & OPTF_ADDRESS) {
		r = address_parse(text, base_dir, &a, e);
		return r < 0 ? r : store_string(at, a.text, e);
	}
	return store_string(at, text, e);
}

static int
set_command(char **at, const char *text, struct err *e)
{
	char **words = value_split_words(text, e);

	if (!words)
		return -EINVAL;
	values_free_words(words);
	return store_string(at, text, e);
}

/* The words for 0 of a limit that can be off. */
static bool
is_off_word(const struct option *o, const char *text)
{
	return (o->flags & OPTF_OFF) && (strcasecmp(text, "off") == 0 ||
	    strcasecmp(text, "no") == 0 || strcasecmp(text, "none") == 0);
}

static void
print_number(const struct option *o, uint64_t v, struct buf *out)
{
	bool is_time = o->type == OPT_TIME || o->type == OPT_READY ||
	    (o->type == OPT_JITTER && (o->flags & OPTF_JITTER_TIME));

	if (o->type == OPT_SIZE || o->type == OPT_LIMIT)
		value_print_size(v, out);
	else if (is_time)
		value_print_time(v, out);
	else if (o->type == OPT_MODE)
		buf_printf(out, "%04" PRIo64, v);
	else if (o->type == OPT_INT)
		buf_printf(out, "%" PRId64, (int64_t)v);
	else
		buf_printf(out, "%" PRIu64, v);
}

static int
complain_range(const struct option *o, const char *text, struct err *e)
{
	struct buf min AUTO_BUF = BUF_INIT(40), max AUTO_BUF = BUF_INIT(40);
	char quoted[VALUE_QUOTE_MAX];

	print_number(o, o->min, &min);
	print_number(o, o->max, &max);
	if (min.failed || max.failed)
		return err_set(e, ENOMEM, "out of memory");
	return err_set(e, ERANGE, "%s is out of range: from %s to %s%s",
	    value_quote(text, quoted, sizeof(quoted)), min.data, max.data,
	    o->flags & OPTF_OFF ? ", or 0 for off" : "");
}

static int
set_number(struct settings *s, const struct option *o, const char *text, struct err *e)
{
	uint64_t v = 0;
	int r;

	if (o->unset_word && strcasecmp(text, o->unset_word) == 0) {
		*(uint64_t *)field(s, o) = o->unset_value;
		return 0;
	}
	if (is_off_word(o, text))
		r = 0;
	else if (o->type == OPT_SIZE)
		r = value_parse_size(text, &v, e);
	else if (o->type == OPT_TIME)
		r = value_parse_time(text, &v, e);
	else if (o->type == OPT_MODE)
		r = value_parse_mode(text, &v, e);
	else
		r = value_parse_count(text, &v, e);
	if (r < 0)
		return r;
	if ((v < o->min || v > o->max) && !(v == 0 && (o->flags & OPTF_OFF)))
		return complain_range(o, text, e);
	*(uint64_t *)field(s, o) = v;
	return 0;
}

static int
set_int(struct settings *s, const struct option *o, const char *text, struct err *e)
{
	int64_t v;
	int r = value_parse_int(text, &v, e);

	if (r < 0)
		return r;
	if (v < (int64_t)o->min || v > (int64_t)o->max)
		return complain_range(o, text, e);
	*(int64_t *)field(s, o) = v;
	return 0;
}

static int
set_choice(struct settings *s, const struct option *o, const char *text, struct err *e)
{
	struct nearest n = NEAREST_INIT(text);
	struct buf words AUTO_BUF = BUF_INIT(200);
	char quoted[VALUE_QUOTE_MAX];

	for (const struct option_choice *c = o->choices; c->word; c++) {
		if (strcasecmp(c->word, text) == 0) {
			*(uint64_t *)field(s, o) = c->value;
			return 0;
		}
		nearest_offer(&n, c->word);
		buf_printf(&words, "%s%s", c == o->choices ? "" : ", ", c->word);
	}
	value_quote(text, quoted, sizeof(quoted));
	if (n.best)
		return err_set(e, EINVAL, "%s is unknown; did you mean '%s'?", quoted, n.best);
	return err_set(e, EINVAL, "%s is none of %s", quoted, words.data ? words.data : "them");
}

static int
set_limit(struct settings *s, const struct option *o, const char *text, struct err *e)
{
	struct limit l = {0};
	char quoted[VALUE_QUOTE_MAX];
	int r = 0;

	if (o->unset_word && strcasecmp(text, o->unset_word) == 0)
		l.kind = LIMIT_AUTO;
	else if (!is_off_word(o, text))
		r = limit_parse(text, &l, e);
	if (r < 0)
		return r;
	if (l.kind == LIMIT_FRESH && !(o->flags & OPTF_FRESH))
		return err_set(e, EINVAL, "%s: a multiple has no meaning here; write a size (300M)"
		    " or a percentage (80%%)", value_quote(text, quoted, sizeof(quoted)));
	if ((l.kind == LIMIT_SIZE && (l.value < o->min || l.value > o->max)) ||
	    (l.kind == LIMIT_OFF && !(o->flags & OPTF_OFF)))
		return complain_range(o, text, e);
	*(struct limit *)field(s, o) = l;
	return 0;
}

static int
set_jitter(struct settings *s, const struct option *o, const char *text, struct err *e)
{
	struct jitter_setting j = { .is_percent = false };
	size_t len = strlen(text);
	char digits[8];
	int r;

	if (text[len - 1] == '%') {
		if (len > sizeof(digits))
			return complain(e, text, "is not a percentage from 0% to 100%");
		memcpy(digits, text, len - 1);
		digits[len - 1] = '\0';
		r = value_parse_count(digits, &j.value, NULL);
		if (r < 0 || j.value > PERCENT_MAX)
			return complain(e, text, "is not a percentage from 0% to 100%");
		j.is_percent = true;
	} else {
		r = (o->flags & OPTF_JITTER_TIME) ? value_parse_time(text, &j.value, e)
		    : value_parse_count(text, &j.value, e);
		if (r < 0)
			return r;
		if (j.value < o->min || j.value > o->max)
			return complain_range(o, text, e);
	}
	*(struct jitter_setting *)field(s, o) = j;
	return 0;
}

static int
set_ready(struct settings *s, const struct option *o, const char *text, struct err *e)
{
	static const struct { const char *word; enum ready_how how; } words[] = {
		{ "auto", READY_AUTO }, { "notify", READY_NOTIFY }, { "listen", READY_LISTEN },
	};
	struct ready_setting ready = { .how = READY_DELAY };

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcmp(words[i].word, text) == 0) {
			ready.how = words[i].how;
			*(struct ready_setting *)field(s, o) = ready;
			return 0;
		}
	if (value_parse_time(text, &ready.delay_ms, NULL) < 0)
		return complain(e, text, "is none of auto, notify, listen, nor a delay such as 5s");
	if (ready.delay_ms < o->min || ready.delay_ms > o->max)
		return complain_range(o, text, e);
	*(struct ready_setting *)field(s, o) = ready;
	return 0;
}

static int
set_worker_log(struct settings *s, const struct option *o, const char *text,
    const char *base_dir, struct err *e)
{
	struct worker_log_setting *at = field(s, o);
	struct worker_log_setting log = { .how = WORKER_LOG_FILE };
	int r;

	if (strcmp(text, "inherit") == 0) {
		log.how = WORKER_LOG_INHERIT;
	} else if (strcmp(text, "prefix") == 0) {
		log.how = WORKER_LOG_PREFIX;
	} else if (!strpbrk(text, "/.")) {
		/* More likely a word that was mistyped than the name of a file. */
		return complain(e, text, "is neither inherit nor prefix; if it is a file, put its"
		    " folder before it (./FILE)");
	} else {
		r = path_resolve(text, base_dir, &log.path, e);
		if (r < 0)
			return r;
	}
	free(at->path);
	*at = log;
	return 0;
}

static int
set_list(struct settings *s, const struct option *o, const char *text,
    const char *base_dir, struct err *e)
{
	struct string_list *at = field(s, o);
	size_t n_before = at->n;
	const char *p = text;
	char item[512];
	int r = 0;

	for (;;) {
		struct address a;
		size_t len, next;

		p += strspn(p, " \t");
		next = len = strcspn(p, ",");
		while (len > 0 && strchr(" \t", p[len - 1]))
			len--;
		if (len == 0)
			r = complain(e, text, "has nothing before or after a comma");
		else if (len >= sizeof(item))
			r = complain(e, text, "is too long");
		if (r < 0)
			break;
		memcpy(item, p, len);
		item[len] = '\0';
		if (o->flags & OPTF_ADDRESS) {
			r = address_parse(item, base_dir, &a, e);
			for (size_t i = 0; r == 0 && i < at->n; i++)
				if (strcmp(at->v[i], a.text) == 0)
					r = complain(e, a.text, "is named twice");
		}
		if (r == 0 && string_list_add(at, o->flags & OPTF_ADDRESS ? a.text : item) < 0)
			r = err_set(e, ENOMEM, "out of memory");
		if (r < 0 || p[next] == '\0')
			break;
		p += next + 1;
	}
	while (r < 0 && at->n > n_before)
		free(at->v[--at->n]);
	return r;
}

/* A comment behind a value would become part of it: a folder called "/srv/app ; old". */
static int
check_text(const struct option *o, const char *text, struct err *e)
{
	if (*text == '\0')
		return err_set(e, EINVAL, "the value is empty; without this key the default holds");
	if (strlen(text) > STRING_MAX)
		return complain(e, text, "is too long");
	for (const char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 && *p != '\t')
			return complain(e, text, "has a control character in it");
	if (o->type == OPT_COMMAND)
		return 0;	/* value_split_words knows quotes */
	for (const char *p = text; (p = strpbrk(p, ";#")) != NULL; p++)
		if (p == text || strchr(" \t", p[-1]))
			return complain(e, text,
			    "has a comment in it; a comment needs a line of its"
			    " own");
	return 0;
}

int
setting_set(struct settings *s, const struct option *o, const char *text,
    const char *base_dir, struct err *e)
{
	int r = check_text(o, text, e);

	if (r < 0)
		return r;
	switch (o->type) {
	case OPT_STRING:
		return set_string(s, o, text, base_dir, e);
	case OPT_PATH:
		return path_resolve(text, base_dir, field(s, o), e);
	case OPT_COMMAND:
		return set_command(field(s, o), text, e);
	case OPT_COUNT:
	case OPT_SIZE:
	case OPT_TIME:
	case OPT_MODE:
		return set_number(s, o, text, e);
	case OPT_LIMIT:
		return set_limit(s, o, text, e);
	case OPT_INT:
		return set_int(s, o, text, e);
	case OPT_BOOL:
		return value_parse_bool(text, field(s, o), e);
	case OPT_CHOICE:
		return set_choice(s, o, text, e);
	case OPT_JITTER:
		return set_jitter(s, o, text, e);
	case OPT_LIST:
		return set_list(s, o, text, base_dir, e);
	case OPT_READY:
		return set_ready(s, o, text, e);
	case OPT_WORKER_LOG:
		return set_worker_log(s, o, text, base_dir, e);
	case OPT_N_TYPES:
		break;
	}
	return err_set(e, EINVAL, "unknown type of option");
}
