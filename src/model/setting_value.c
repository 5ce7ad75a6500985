/*
 * setting_value.c - a field of struct settings back to text, and emptied.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/setting.h"

#include "base/buf.h"
#include "model/values.h"

#include <inttypes.h>
#include <string.h>

int
string_list_add(struct string_list *l, const char *text)
{
	char **v = reallocarray(l->v, l->n + 1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	l->v = v;
	v[l->n] = strdup(text);
	if (!v[l->n])
		return -ENOMEM;
	l->n++;
	return 0;
}

void
string_list_clear(struct string_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
	*l = (struct string_list){0};
}

int
pair_list_add(struct pair_list *l, const char *key, const char *value, unsigned line)
{
	struct pair *v = reallocarray(l->v, l->n + 1, sizeof(*v));
	struct pair p = { .line = line };

	if (!v)
		return -ENOMEM;
	l->v = v;
	p.key = strdup(key);
	p.value = strdup(value);
	if (!p.key || !p.value) {
		free(p.key);
		free(p.value);
		return -ENOMEM;
	}
	v[l->n++] = p;
	return 0;
}

void
pair_list_clear(struct pair_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->v[i].key);
		free(l->v[i].value);
	}
	free(l->v);
	*l = (struct pair_list){0};
}

void
setting_clear(struct settings *s, const struct option *o)
{
	void *at = (char *)s + o->offset;

	switch (o->type) {
	case OPT_STRING:
	case OPT_PATH:
	case OPT_COMMAND:
		base_replace(at, NULL);
		return;
	case OPT_LIST:
		string_list_clear(at);
		return;
	case OPT_WORKER_LOG:
		free(((struct worker_log_setting *)at)->path);
		break;
	case OPT_COUNT:
	case OPT_SIZE:
	case OPT_LIMIT:
	case OPT_TIME:
	case OPT_MODE:
	case OPT_INT:
	case OPT_BOOL:
	case OPT_CHOICE:
	case OPT_JITTER:
	case OPT_READY:
	case OPT_N_TYPES:
		break;
	}
	memset(at, 0, o->size);
}

static int
print_uint(const struct option *o, uint64_t v, struct buf *out)
{
	if (o->unset_word && v == o->unset_value)
		return buf_puts(out, o->unset_word);
	if (o->type == OPT_SIZE)
		return value_print_size(v, out);
	if (o->type == OPT_TIME)
		return value_print_time(v, out);
	if (o->type == OPT_MODE)
		return buf_printf(out, "%04" PRIo64, v);
	return buf_printf(out, "%" PRIu64, v);
}

static int
print_jitter(const struct option *o, const struct jitter_setting *j, struct buf *out)
{
	if (j->is_percent)
		return buf_printf(out, "%" PRIu64 "%%", j->value);
	if (o->flags & OPTF_JITTER_TIME)
		return value_print_time(j->value, out);
	return buf_printf(out, "%" PRIu64, j->value);
}

static int
print_ready(const struct ready_setting *ready, struct buf *out)
{
	switch (ready->how) {
	case READY_AUTO:
		return buf_puts(out, "auto");
	case READY_NOTIFY:
		return buf_puts(out, "notify");
	case READY_LISTEN:
		return buf_puts(out, "listen");
	case READY_DELAY:
		break;
	}
	return value_print_time(ready->delay_ms, out);
}

static int
print_worker_log(const struct worker_log_setting *log, struct buf *out)
{
	switch (log->how) {
	case WORKER_LOG_INHERIT:
		return buf_puts(out, "inherit");
	case WORKER_LOG_PREFIX:
		return buf_puts(out, "prefix");
	case WORKER_LOG_FILE:
		break;
	}
	return buf_puts(out, log->path ? log->path : "");
}

static int
print_list(const struct string_list *l, struct buf *out)
{
	int r = 0;

	for (size_t i = 0; i < l->n && r == 0; i++)
		r = buf_printf(out, "%s%s", i > 0 ? ", " : "", l->v[i]);
	return r;
}

int
setting_print(const struct settings *s, const struct option *o, struct buf *out)
{
	const void *at = (const char *)s + o->offset;
	const char *text;

	switch (o->type) {
	case OPT_STRING:
	case OPT_PATH:
	case OPT_COMMAND:
		text = *(char *const *)at;
		return text ? buf_puts(out, text) : 0;
	case OPT_COUNT:
	case OPT_SIZE:
	case OPT_TIME:
	case OPT_MODE:
		return print_uint(o, *(const uint64_t *)at, out);
	case OPT_LIMIT:
		return limit_print(*(const struct limit *)at, out);
	case OPT_INT:
		return buf_printf(out, "%" PRId64, *(const int64_t *)at);
	case OPT_BOOL:
		return buf_puts(out, *(const bool *)at ? "yes" : "no");
	case OPT_CHOICE:
		for (const struct option_choice *c = o->choices; c->word; c++)
			if (c->value == *(const uint64_t *)at)
				return buf_puts(out, c->word);
		break;
	case OPT_JITTER:
		return print_jitter(o, at, out);
	case OPT_LIST:
		return print_list(at, out);
	case OPT_READY:
		return print_ready(at, out);
	case OPT_WORKER_LOG:
		return print_worker_log(at, out);
	case OPT_N_TYPES:
		break;
	}
	return -EINVAL;
}
