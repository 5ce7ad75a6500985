/*
 * settings.c - from ini text, command line and environment to struct settings.
 *
 * Order: defaults, then the ini, then the command line, each over the one before;
 * the environment's two variables count only for what is still at its default. A
 * mistake does not end the reading: all are collected, and the checks between
 * settings run at the end.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/settings.h"

#include "base/buf.h"
#include "model/inifile.h"
#include "model/nearest.h"
#include "model/options.h"
#include "model/paths.h"
#include "model/setting.h"
#include "model/settings_check.h"
#include "model/values.h"

#include <stdio.h>
#include <string.h>

enum {
	PAIRS_MAX = 1000,	/* of [server], and of [env] */
	PAIR_VALUE_MAX = 7000,
};

static const char *const sections[] = { "preforkd", "server", "env", NULL };

struct loader {
	struct settings_load l;
	const struct settings_source *src;
};

void
settings_free(struct settings *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < options_n; i++)
		setting_clear(s, &options[i]);
	pair_list_clear(&s->server);
	pair_list_clear(&s->env);
	free(s->name);
	free(s->app_name);
	free(s->file);
	free(s->origin);
	free(s);
}

/* Stores a value and where it came from; mistakes go to errs. Returns 0 or -ENOMEM. */
static int
apply(struct loader *ld, const struct option *o, const char *text, enum setting_origin origin,
    unsigned line)
{
	struct setting_place *place = &ld->l.places[o - options];
	bool is_first = place->origin != origin;
	struct err e;
	int r;

	if (origin == ORIGIN_FILE && !is_first && o->type != OPT_LIST) {
		errs_add(ld->l.errs, "%s:%u: %s: this key was set before, in line %u", ld->l.file,
		    line, o->key, place->line);
		return 0;
	}
	if (is_first) {
		place->is_bad = false;
		if (o->type == OPT_LIST)
			setting_clear(ld->l.s, o);
	}
	place->origin = origin;
	place->line = line;
	r = setting_set(ld->l.s, o, text, ld->src->base_dir, &e);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		place->is_bad = true;
		settings_complain(&ld->l, o, "%s", e.text);
	}
	return 0;
}

static bool
is_app_key(const char *key)
{
	return strcmp(key, "wsgi") == 0 || strcmp(key, "asgi") == 0 || strcmp(key, "command") == 0;
}

/* head is the text up to where the suggestion goes. */
static void
complain_unknown(struct loader *ld, const char *head, const char *dashes, const char *key)
{
	const char *near = option_nearest(key);

	ld->l.app_mistyped |= near && is_app_key(near);
	if (!near)
		errs_add(ld->l.errs, "%s", head);
	else if (*near == '[')
		errs_add(ld->l.errs, "%s; it goes into section %s", head, near);
	else
		errs_add(ld->l.errs, "%s; did you mean '%s%s'?", head, dashes, near);
}

/* Names of the servers' options may be written with '_' or '-'. */
static bool
is_same_key(const char *a, const char *b, bool fold)
{
	for (; *a != '\0' && *b != '\0'; a++, b++)
		if (*a != *b && !(fold && strchr("-_", *a) && strchr("-_", *b)))
			return false;
	return *a == *b;
}

/* line 0: from the command line, which may replace what the ini says. */
static int
apply_pair(struct loader *ld, struct pair_list *list, const char *section, const char *key,
    const char *value, unsigned line)
{
	bool fold = list == &ld->l.s->server;

	if (strlen(value) > PAIR_VALUE_MAX) {
		settings_complain_pair(&ld->l, section, key, line, "the value is too long");
		return 0;
	}
	for (size_t i = 0; i < list->n; i++) {
		struct pair *p = &list->v[i];
		char text[64];
		char *copy;

		if (!is_same_key(p->key, key, fold))
			continue;
		if (line > 0) {
			snprintf(text, sizeof(text), "this key was set before, in line %u",
			    p->line);
			settings_complain_pair(&ld->l, section, key, line, text);
			return 0;
		}
		copy = strdup(value);
		if (!copy)
			return -ENOMEM;
		base_replace(&p->value, copy);
		p->line = 0;
		return 0;
	}
	if (list->n == PAIRS_MAX) {
		settings_complain_pair(&ld->l, section, key, line, "there are too many keys in this"
		    " section");
		return 0;
	}
	return pair_list_add(list, key, value, line);
}

static int
on_ini_key(void *ctx, const char *section, const char *key, const char *value, unsigned line)
{
	struct loader *ld = ctx;
	const struct option *o;
	struct buf head AUTO_BUF = BUF_INIT(5000);
	char quoted[VALUE_QUOTE_MAX];

	if (strcmp(section, "server") == 0)
		return apply_pair(ld, &ld->l.s->server, section, key, value, line);
	if (strcmp(section, "env") == 0)
		return apply_pair(ld, &ld->l.s->env, section, key, value, line);
	o = option_find(key);
	if (o)
		return apply(ld, o, value, ORIGIN_FILE, line);
	buf_printf(&head, "%s:%u: unknown key %s", ld->l.file, line,
	    value_quote(key, quoted, sizeof(quoted)));
	if (head.failed)
		return -ENOMEM;
	complain_unknown(ld, head.data, "", key);
	return 0;
}

/* The value without the blanks around it, owned. */
static char *
trimmed(const char *text)
{
	size_t len;

	text += strspn(text, " \t");
	len = strlen(text);
	while (len > 0 && strchr(" \t", text[len - 1]))
		len--;
	return strndup(text, len);
}

/* --env NAME=VALUE and --server KEY=VALUE */
static int
apply_pair_override(struct loader *ld, struct pair_list *list, const char *section, char *text)
{
	static const char key_chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	    "0123456789-_.";
	char *eq = strchr(text, '=');
	size_t len;

	for (const char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 && *p != '\t') {
			settings_complain_pair(&ld->l, section, text, 0,
			    "has a control character in it");
			return 0;
		}
	len = eq ? (size_t)(eq - text) : 0;
	while (len > 0 && strchr(" \t", text[len - 1]))
		len--;
	if (len == 0 || len > INIFILE_KEY_MAX || strspn(text, key_chars) < len) {
		settings_complain_pair(&ld->l, section, text, 0, "wanted: KEY=VALUE");
		return 0;
	}
	text[len] = '\0';
	return apply_pair(ld, list, section, text, eq + 1 + strspn(eq + 1, " \t"), 0);
}

static int
apply_override(struct loader *ld, const struct settings_override *ov)
{
	const struct option *o = option_find(ov->key);
	bool is_env = strcmp(ov->key, "env") == 0, is_server = strcmp(ov->key, "server") == 0;
	char *value AUTO_FREE = NULL;
	char head[200];

	if (!o && !is_env && !is_server) {
		snprintf(head, sizeof(head), "--%.100s: unknown option", ov->key);
		complain_unknown(ld, head, "--", ov->key);
		return 0;
	}
	if (!ov->value && !(o && o->type == OPT_BOOL)) {
		errs_add(ld->l.errs, "--%s: needs a value", ov->key);
		return 0;
	}
	value = trimmed(ov->value ? ov->value : "yes");
	if (!value)
		return -ENOMEM;
	if (o)
		return apply(ld, o, value, ORIGIN_COMMAND_LINE, 0);
	return apply_pair_override(ld, is_env ? &ld->l.s->env : &ld->l.s->server, ov->key, value);
}

/* A variable counts when it is not empty and nobody said anything more definite. */
static int
apply_environment(struct loader *ld)
{
	const struct option *workers = option_find("workers"), *listen = option_find("listen");
	const char *concurrency = ld->src->web_concurrency, *port = ld->src->port;
	char address[32], quoted[VALUE_QUOTE_MAX];
	uint64_t number;
	int r = 0;

	if (concurrency && *concurrency != '\0' &&
	    ld->l.places[workers - options].origin == ORIGIN_DEFAULT)
		r = apply(ld, workers, concurrency, ORIGIN_ENVIRONMENT, 0);
	if (r < 0 || !port || *port == '\0' ||
	    ld->l.places[listen - options].origin != ORIGIN_DEFAULT)
		return r;
	if (value_parse_count(port, &number, NULL) < 0 || number < 1 || number > 65535) {
		errs_add(ld->l.errs, "$PORT: %s is not a port number from 1 to 65535",
		    value_quote(port, quoted, sizeof(quoted)));
		return 0;
	}
	snprintf(address, sizeof(address), "0.0.0.0:%u", (unsigned)number);
	return apply(ld, listen, address, ORIGIN_ENVIRONMENT, 0);
}

/* Values that depend on others or on the machine. */
static int
complete(struct loader *ld)
{
	struct settings *s = ld->l.s;
	const struct option *workers = option_find("workers");
	const struct option *min_life = option_find("min-worker-lifetime");

	if (s->workers == 0)
		s->workers = MIN_OF(MAX_OF(ld->src->default_workers, workers->min), workers->max);
	/* Whoever wants short lives should not have to say so twice. */
	if (ld->l.places[min_life - options].origin == ORIGIN_DEFAULT &&
	    s->max_worker_lifetime_ms > 0)
		s->min_worker_lifetime_ms = MIN_OF(s->min_worker_lifetime_ms,
		    s->max_worker_lifetime_ms);
	if (asprintf(&s->app_name, "%s %s", s->wsgi ? "wsgi" : s->asgi ? "asgi" : "command",
	    s->wsgi ? s->wsgi : s->asgi ? s->asgi : s->command ? s->command : "") < 0) {
		s->app_name = NULL;
		return -ENOMEM;
	}
	return 0;
}

/* name and file from the path of the ini. */
static int
set_identity(struct settings *s, const struct settings_source *src)
{
	const char *base, *end;
	size_t len;

	if (src->file) {
		const char *slash = strrchr(src->file, '/');
		struct err e;

		base = slash ? slash + 1 : src->file;
		if (path_resolve(src->file[0] == '/' ? src->file : base, src->base_dir, &s->file,
		    &e) == -ENOMEM)
			return -ENOMEM;
		len = strlen(base);
		end = base + len;
		if (len > 4 && strcmp(end - 4, ".ini") == 0)
			len -= 4;
		if (len > 0 && strspn(base, ".") < len)
			s->name = strndup(base, len);
	}
	if (!s->name)
		s->name = strdup("preforkd");
	return s->name ? 0 : -ENOMEM;
}

static int
load(struct loader *ld)
{
	const struct settings_source *src = ld->src;
	int r;

	r = set_identity(ld->l.s, src);
	for (size_t i = 0; i < options_n && r == 0; i++)
		if (options[i].def)
			r = apply(ld, &options[i], options[i].def, ORIGIN_DEFAULT, 0);
	if (r == 0 && src->file && src->text)
		r = inifile_parse(src->file, src->text, src->len, sections, on_ini_key, ld,
		    ld->l.errs);
	for (size_t i = 0; i < src->n_overrides && r == 0; i++)
		r = apply_override(ld, &src->overrides[i]);
	if (r == 0)
		r = apply_environment(ld);
	if (r == 0)
		r = complete(ld);
	if (r < 0)
		return r;
	settings_check(&ld->l);
	for (size_t i = 0; i < options_n; i++)
		ld->l.s->origin[i] = (unsigned char)ld->l.places[i].origin;
	return 0;
}

int
settings_load(const struct settings_source *src, struct settings **ret, struct errs *errs)
{
	CLEANUP(settings_freep) struct settings *s = calloc(1, sizeof(*s));
	AUTO_FREE struct setting_place *places = calloc(options_n, sizeof(*places));
	struct loader ld = { .src = src };
	size_t n_before = errs->n, dropped_before = errs->dropped;
	int r;

	if (!s || !places)
		return -ENOMEM;
	s->origin = calloc(options_n, sizeof(*s->origin));
	if (!s->origin)
		return -ENOMEM;
	ld.l = (struct settings_load){
		.file = src->file, .s = s, .places = places, .errs = errs,
		.cgroup_limit_bytes = src->cgroup_limit_bytes,
	};
	r = load(&ld);
	if (r < 0)
		return r;
	if (errs->n > n_before)
		return -EINVAL;
	if (errs->dropped > dropped_before)
		return -ENOMEM;
	*ret = TAKE_PTR(s);
	return 0;
}

const char *
settings_app_name(const struct settings *s)
{
	return s->app_name;
}
