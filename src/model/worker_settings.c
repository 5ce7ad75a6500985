/*
 * worker_settings.c - see worker_settings.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/worker_settings.h"

#include <jansson.h>
#include <string.h>

static json_t *
json_or_null(const char *s)
{
	return s != NULL ? json_string(s) : json_null();
}

static json_t *
json_seconds(uint64_t ms)
{
	return json_real((double)ms / 1000.0);
}

/* The parts between any of the separators, without empty ones. */
static json_t *
split(const char *text, const char *separators)
{
	json_t *list = json_array();

	while (list != NULL && text != NULL && *text != '\0') {
		size_t len = strcspn(text, separators);

		if (len > 0)
			json_array_append_new(list, json_stringn(text, len));
		text += len + (text[len] != '\0');
	}
	return list;
}

/* What only a mold has to know; 0, or -1 without memory. */
static int
add_mold(json_t *o, const struct settings *s, const struct worker_settings *w)
{
	json_t *mold = json_pack("{s:s, s:o, s:o, s:I, s:s}",
	    "preload", s->preload == PRELOAD_YES ? "yes" : "auto",
	    "warm_up", split(s->warm_up, " \t"),
	    "before_fork", json_or_null(s->before_fork),
	    "master", (json_int_t)w->master,
	    "worker_title", w->worker_title);
	int r = mold != NULL ? json_object_update(o, mold) : -1;

	json_decref(mold);
	return r;
}

char *
worker_settings_json(const struct settings *s, const struct worker_settings *w)
{
	static const char *const levels[] = {
		[LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARN] = "warning",
		[LOG_LEVEL_NOTICE] = "info", [LOG_LEVEL_INFO] = "info",
		[LOG_LEVEL_DEBUG] = "debug",
	};
	json_t *server = json_object(), *o;
	char *text;

	for (size_t i = 0; i < s->server.n; i++)
		json_object_set_new(server, s->server.v[i].key,
		    json_string(s->server.v[i].value));
	o = json_pack("{s:s, s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:I, s:s, s:I, "
	    "s:o, s:s, s:o}",
	    "kind", s->wsgi != NULL ? "wsgi" : "asgi",
	    "app", s->wsgi != NULL ? s->wsgi : s->asgi,
	    "worker_class", s->worker_class,
	    "threads", (json_int_t)s->threads,
	    "worker_connections", (json_int_t)s->worker_connections,
	    "keepalive", s->keepalive_ms == KEEPALIVE_UNSET ? json_null()
	        : json_seconds(s->keepalive_ms),
	    "gunicorn_config", json_or_null(s->gunicorn_config),
	    "server", server,
	    "pythonpath", split(s->pythonpath, ":"),
	    "workers", (json_int_t)s->workers,
	    "timeout", json_seconds(s->timeout_ms),
	    "graceful_timeout", json_seconds(s->graceful_timeout_ms),
	    "drain_idle", s->drain_idle_ms == DRAIN_IDLE_AUTO ? json_null()
	        : json_seconds(s->drain_idle_ms),
	    "backlog", (json_int_t)s->backlog,
	    "title", w->title,
	    "limit", (json_int_t)w->limit_requests,
	    "beat", json_seconds(w->beat_ms),
	    "log_level", levels[s->log_level],
	    "after_fork", json_or_null(s->after_fork));
	if (o == NULL)
		return NULL;
	text = w->worker_title != NULL && add_mold(o, s, w) < 0 ? NULL
	    : json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}
