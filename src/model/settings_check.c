/*
 * settings_check.c - contradictions between settings.
 *
 * Every check is one small function or one row of a table; all of them run, so
 * that a person sees all mistakes at once.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/settings_check.h"

#include "base/buf.h"
#include "model/nearest.h"
#include "model/setting.h"
#include "model/values.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void
settings_complain(struct settings_load *l, const struct option *o, const char *fmt, ...)
{
	const struct setting_place *place = &l->places[o - options];
	char text[ERR_TEXT_MAX + 200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	switch (place->origin) {
	case ORIGIN_FILE:
		errs_add(l->errs, "%s:%u: %s: %s", l->file, place->line, o->key, text);
		return;
	case ORIGIN_ENVIRONMENT:
		errs_add(l->errs, "$%s: %s",
		    strcmp(o->key, "listen") == 0 ? "PORT" : "WEB_CONCURRENCY", text);
		return;
	case ORIGIN_DEFAULT:
		if (l->file) {
			errs_add(l->errs, "%s: %s: %s", l->file, o->key, text);
			return;
		}
		break;
	case ORIGIN_COMMAND_LINE:
		break;
	}
	errs_add(l->errs, "--%s: %s", o->key, text);
}

void
settings_complain_pair(struct settings_load *l, const char *section, const char *key,
    unsigned line, const char *text)
{
	char quoted[VALUE_QUOTE_MAX];

	value_quote(key, quoted, sizeof(quoted));
	if (line > 0)
		errs_add(l->errs, "%s:%u: [%s] %s: %s", l->file, line, section, quoted, text);
	else
		errs_add(l->errs, "--%s: %s: %s", section, quoted, text);
}

static const struct option *
row(const char *key)
{
	const struct option *o = option_find(key);

	/* The keys here are literals; a unit test runs every check. */
	return o ? o : &options[0];
}

static bool
is_given(const struct settings_load *l, const char *key)
{
	return l->places[row(key) - options].origin != ORIGIN_DEFAULT;
}

static bool
is_bad(const struct settings_load *l, const char *key)
{
	return l->places[row(key) - options].is_bad;
}

static void
check_application(struct settings_load *l)
{
	static const char *const keys[] = { "wsgi", "asgi", "command" };
	const char *first = NULL;

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		if (!is_given(l, keys[i]))
			continue;
		if (first)
			settings_complain(l, row(keys[i]),
			    "'%s' is set as well; exactly one of wsgi,"
			    " asgi and command can be", first);
		else
			first = keys[i];
	}
	if (first || l->app_mistyped)
		return;
	if (l->file)
		errs_add(l->errs, "%s: nothing to run: set wsgi, asgi or command in [preforkd], for"
		    " example 'wsgi = app:app'", l->file);
	else
		errs_add(l->errs, "--wsgi: nothing to run: give --wsgi, --asgi or --command, for"
		    " example '--wsgi app:app', or an ini file");
}

/* "package.module:object": what stands before the colon must be a name to import. */
static void
check_module(struct settings_load *l, const char *key, const char *text)
{
	char quoted[VALUE_QUOTE_MAX];
	const char *colon;
	size_t len;

	if (!text || is_bad(l, key))
		return;
	value_quote(text, quoted, sizeof(quoted));
	colon = strchr(text, ':');
	len = colon ? (size_t)(colon - text) : strlen(text);
	if (memchr(text, '/', len) || (len > 3 && strncmp(text + len - 3, ".py", 3) == 0)) {
		settings_complain(l, row(key), "%s names a file; name the module that is imported:"
		    " 'app:app' for the object app of app.py", quoted);
		return;
	}
	if (!colon) {
		settings_complain(l, row(key), "%s has no ':'; write MODULE:OBJECT, for example"
		    " '%.40s:app'", quoted, text);
		return;
	}
	if (len == 0 || colon[1] == '\0' || colon[1] == ' ' || text[0] == '.' ||
	    text[len - 1] == '.' || strcspn(text, " \t\"'()-,;") < len)
		settings_complain(l, row(key), "%s is not MODULE:OBJECT or MODULE:FACTORY()",
		    quoted);
}

/* "package.module:function" of one word. */
static void
check_function(struct settings_load *l, const char *key, const char *text)
{
	char quoted[VALUE_QUOTE_MAX];
	const char *colon = text ? strchr(text, ':') : NULL;

	if (!text || is_bad(l, key))
		return;
	if (!colon || colon == text || colon[1] == '\0' || strpbrk(text, " \t\"'()-,;/") ||
	    strchr(colon + 1, ':'))
		settings_complain(l, row(key), "%s is not MODULE:FUNCTION",
		    value_quote(text, quoted, sizeof(quoted)));
}

static bool
is_warm_up_word(const char *word)
{
	const char *path = strstr(word, "://");

	if (word[0] == '/')
		return true;
	if (path)
		return (strncmp(word, "http://", 7) == 0 || strncmp(word, "https://", 8) == 0) &&
		    strchr(path + 3, '/');
	return strchr(word, ':') && !strpbrk(word, "\"'()-,;/");
}

/* What only a mold carries out, and functions of the application. */
static void
check_preload(struct settings_load *l)
{
	const char *text = l->s->warm_up;
	char word[512], quoted[VALUE_QUOTE_MAX];

	while (text && *(text += strspn(text, " \t")) != '\0') {
		size_t len = strcspn(text, " \t");

		snprintf(word, sizeof(word), "%.*s", (int)MIN_OF(len, sizeof(word)), text);
		text += len;
		if (!is_warm_up_word(word))
			settings_complain(l, row("warm-up"), "%s is neither a request path"
			    " (/login), nor a URL with a path (https://example.com/), nor"
			    " MODULE:FUNCTION", value_quote(word, quoted, sizeof(quoted)));
	}
	check_function(l, "before-fork", l->s->before_fork);
	check_function(l, "after-fork", l->s->after_fork);
	if (l->s->preload == PRELOAD_NO && l->s->warm_up)
		settings_complain(l, row("warm-up"), "has no meaning with 'preload = no'");
	if (l->s->preload == PRELOAD_NO && l->s->before_fork)
		settings_complain(l, row("before-fork"), "has no meaning with 'preload = no'");
}

static const struct worker_class { const char *name; bool wsgi, asgi; } worker_classes[] = {
	{ "auto", true, true }, { "uvicorn", false, true }, { "hypercorn", false, true },
	{ "sync", true, false }, { "gthread", true, false }, { "gevent", true, false },
	{ "gevent_wsgi", true, false }, { "gevent_pywsgi", true, false },
	{ "eventlet", true, false }, { "tornado", true, false }, { "waitress", true, false },
	{ "stdlib", true, false },
};

static const struct worker_class *
find_class(const char *name, struct nearest *n)
{
	for (size_t i = 0; i < ARRAY_LEN(worker_classes); i++) {
		nearest_offer(n, worker_classes[i].name);
		if (strcmp(worker_classes[i].name, name) == 0)
			return &worker_classes[i];
	}
	return NULL;
}

static void
check_worker_class(struct settings_load *l)
{
	const struct option *o = row("worker-class");
	const char *name = l->s->worker_class;
	struct nearest n = NEAREST_INIT(name);
	const struct worker_class *c = find_class(name, &n);
	bool wsgi = l->s->wsgi != NULL, asgi = l->s->asgi != NULL;
	char quoted[VALUE_QUOTE_MAX];

	if (l->s->command || wsgi == asgi)
		return;		/* reported elsewhere */
	value_quote(name, quoted, sizeof(quoted));
	if (c) {
		if (asgi && !c->asgi)
			settings_complain(l, o, "%s serves wsgi, not asgi; use auto, uvicorn or"
			    " hypercorn", quoted);
		else if (wsgi && !c->wsgi)
			settings_complain(l, o,
			    "%s serves asgi, not wsgi; set 'asgi = %s', or use auto,"
			    " gthread, sync, gevent or waitress", quoted, l->s->wsgi);
	} else if (strncmp(name, "uvicorn.workers.", 16) == 0 ||
	    strncmp(name, "uvicorn_worker.", 15) == 0) {
		settings_complain(l, o,
		    "%s is uvicorn inside gunicorn; set 'asgi' and 'worker-class ="
		    " uvicorn' instead", quoted);
	} else if (!strpbrk(name, ".:")) {
		settings_complain(l, o,
		    "%s is unknown%s%s%s (there are auto, gthread, sync, gevent,"
		    " waitress, stdlib, uvicorn, hypercorn, and gunicorn's classes by dotted path)",
		    quoted, n.best ? "; did you mean '" : "", n.best ? n.best : "",
		    n.best ? "'?" : "");
	}
}

/* Writing a default out is no mistake: --show-settings does it for every key. */
static bool
differs_from_default(const struct settings_load *l, const struct option *o)
{
	struct buf text AUTO_BUF = BUF_INIT(8000);

	if (!is_given(l, o->key))
		return false;
	return !o->def || setting_print(l->s, o, &text) < 0 || !text.data ||
	    strcmp(text.data, o->def) != 0;
}

/* Keys that mean nothing for what is run. */
static void
check_applicable(struct settings_load *l)
{
	static const struct { const char *key; bool wsgi, asgi, command; } keys[] = {
		{ "worker-class", true, true, false },
		{ "threads", true, false, false },
		{ "worker-connections", true, true, false },
		{ "keepalive", true, true, false },
		{ "gunicorn-config", true, false, false },
		{ "python", true, true, false },
		{ "ready", false, false, true },
		{ "preload", true, true, false },
		{ "warm-up", true, true, false },
		{ "before-fork", true, true, false },
		{ "after-fork", true, true, false },
	};
	const struct settings *s = l->s;
	const char *what = s->command ? "command" : s->asgi ? "asgi" : "wsgi";

	if ((s->wsgi != NULL) + (s->asgi != NULL) + (s->command != NULL) != 1)
		return;
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		bool fits = s->command ? keys[i].command : s->asgi ? keys[i].asgi : keys[i].wsgi;

		if (!fits && differs_from_default(l, row(keys[i].key)))
			settings_complain(l, row(keys[i].key), "has no meaning with '%s'", what);
	}
	if (s->command && s->server.n > 0)
		settings_complain_pair(l, "server", s->server.v[0].key, s->server.v[0].line,
		    "has no meaning with 'command'; put it into the command");
	if (s->gunicorn_config && !s->command && !s->asgi &&
	    (strcmp(s->worker_class, "waitress") == 0 || strcmp(s->worker_class, "stdlib") == 0))
		settings_complain(l, row("gunicorn-config"), "has no meaning with worker-class %s",
		    s->worker_class);
}

/* a must stay below b (or may equal it) when both are set. */
static void
check_order(struct settings_load *l)
{
	const struct settings *s = l->s;
	const struct {
		const char *low, *high;
		uint64_t low_value, high_value;
		bool may_equal;
		const char *why;
	} pairs[] = {
		{ "min-worker-lifetime", "max-worker-lifetime", s->min_worker_lifetime_ms,
		  s->max_worker_lifetime_ms, true, "no worker could be recycled for its age" },
		{ "reload-on-fds", "limit-nofile", s->reload_on_fds, s->limit_nofile, false,
		  "a worker would run out of descriptors first" },
	};

	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		struct buf low AUTO_BUF = BUF_INIT(40), high AUTO_BUF = BUF_INIT(40);

		if (pairs[i].low_value == 0 || pairs[i].high_value == 0 ||
		    is_bad(l, pairs[i].low) || is_bad(l, pairs[i].high) ||
		    pairs[i].low_value < pairs[i].high_value ||
		    (pairs[i].may_equal && pairs[i].low_value == pairs[i].high_value))
			continue;
		setting_print(s, row(pairs[i].low), &low);
		setting_print(s, row(pairs[i].high), &high);
		settings_complain(l, row(pairs[i].low), "%s must be below '%s' (%s), else %s",
		    low.data ? low.data : "it", pairs[i].high, high.data ? high.data : "set",
		    pairs[i].why);
	}
}

/* The kernel chooses the port: two of these are never the same address. */
static bool
is_any_port(const char *address)
{
	size_t len = strlen(address);

	return len > 2 && strcmp(address + len - 2, ":0") == 0;
}

static void
check_addresses(struct settings_load *l)
{
	const struct settings *s = l->s;

	if (s->status_listen && !is_bad(l, "status-listen")) {
		const struct option *o = row("status-listen");

		if (strcmp(s->status_listen, "systemd") == 0 ||
		    strncmp(s->status_listen, "fd:", 3) == 0)
			settings_complain(l, o,
			    "'%s' cannot be used here; write HOST:PORT or unix:PATH",
			    s->status_listen);
		for (size_t i = 0; i < s->listen.n; i++)
			if (strcmp(s->listen.v[i], s->status_listen) == 0 &&
			    !is_any_port(s->status_listen))
				settings_complain(l, o, "'%s' is an address of 'listen' already",
				    s->status_listen);
	}
	/* sun_path has 108 bytes, one of them for the NUL. */
	if (s->control && strlen(s->control) > 107)
		settings_complain(l, row("control"), "this path has %zu characters; a socket's may"
		    " have 107, folder included", strlen(s->control));
}

/* Servers' options that are ours, in the spelling of this file. */
static const struct { const char *theirs, *ours; } owned[] = {
	{ "backlog", "backlog" }, { "bind", "listen" }, { "chdir", "chdir" },
	{ "daemon", NULL }, { "fd", "listen" }, { "graceful-timeout", "graceful-timeout" },
	{ "group", "group" }, { "host", "listen" }, { "limit-max-requests", "max-requests" },
	{ "limit-max-requests-jitter", "max-requests-jitter" }, { "listen", "listen" },
	{ "max-requests", "max-requests" }, { "max-requests-jitter", "max-requests-jitter" },
	{ "pid", "pidfile" }, { "pidfile", "pidfile" }, { "port", "listen" },
	{ "preload-app", "preload" }, { "raw-env", "[env]" }, { "reload", NULL },
	{ "reuse-port", NULL }, { "sockets", "listen" }, { "threads", "threads" },
	{ "timeout", "timeout" }, { "timeout-graceful-shutdown", "graceful-timeout" },
	{ "uds", "listen" }, { "umask", "umask" }, { "unix-socket", "listen" },
	{ "use-reloader", NULL }, { "user", "user" }, { "worker-class", "worker-class" },
	{ "worker-connections", "worker-connections" }, { "workers", "workers" },
};

static void
check_server(struct settings_load *l)
{
	char text[120];

	for (size_t i = 0; i < l->s->server.n; i++) {
		const struct pair *p = &l->s->server.v[i];
		struct nearest n = NEAREST_INIT(p->key);

		/* Distance 0 is "the same but for case and '_'". */
		for (size_t j = 0; j < ARRAY_LEN(owned); j++) {
			nearest_offer(&n, owned[j].theirs);
			if (!n.best || n.distance != 0)
				continue;
			if (owned[j].ours)
				snprintf(text, sizeof(text), "is preforkd's own; %s '%s'",
				    owned[j].ours[0] == '[' ? "use section" : "set in [preforkd]",
				    owned[j].ours);
			else
				snprintf(text, sizeof(text), "is not for a worker of preforkd");
			settings_complain_pair(l, "server", p->key, p->line, text);
			break;
		}
	}
}

static void
check_env(struct settings_load *l)
{
	static const char *const ours[] = {
		"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC",
		"WATCHDOG_PID",
	};
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";

	for (size_t i = 0; i < l->s->env.n; i++) {
		const struct pair *p = &l->s->env.v[i];
		bool is_ours = strncmp(p->key, "PREFORKD_", 9) == 0;

		for (size_t j = 0; j < ARRAY_LEN(ours); j++)
			is_ours = is_ours || strcmp(ours[j], p->key) == 0;
		if (is_ours)
			settings_complain_pair(l, "env", p->key, p->line,
			    "is set by preforkd for each"
			    " worker");
		else if (!strchr(letters, p->key[0]) || strpbrk(p->key, "-."))
			settings_complain_pair(l, "env", p->key, p->line,
			    "is not a name of a variable");
	}
}

void
settings_check(struct settings_load *l)
{
	check_application(l);
	check_module(l, "wsgi", l->s->wsgi);
	check_module(l, "asgi", l->s->asgi);
	check_worker_class(l);
	check_applicable(l);
	check_preload(l);
	check_order(l);
	settings_check_memory(l);
	check_addresses(l);
	check_server(l);
	check_env(l);
}
