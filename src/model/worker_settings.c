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

static json_t *
split_path(const char *path)
{
	json_t *list = json_array();

	while (list != NULL && path != NULL && *path != '\0') {
		size_t len = strcspn(path, ":");

		if (len > 0)
			json_array_append_new(list, json_stringn(path, len));
		path += len + (path[len] == ':');
	}
	return list;
}

char *
worker_settings_json(const struct settings *s, const char *title, uint64_t limit_requests,
    uint64_t beat_ms)
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
	    "s:o, s:s}",
	    "kind", s->wsgi != NULL ? "wsgi" : "asgi",
	    "app", s->wsgi != NULL ? s->wsgi : s->asgi,
	    "worker_class", s->worker_class,
	    "threads", (json_int_t)s->threads,
	    "worker_connections", (json_int_t)s->worker_connections,
	    "keepalive", s->keepalive_ms == KEEPALIVE_UNSET ? json_null()
	        : json_seconds(s->keepalive_ms),
	    "gunicorn_config", json_or_null(s->gunicorn_config),
	    "server", server,
	    "pythonpath", split_path(s->pythonpath),
	    "workers", (json_int_t)s->workers,
	    "timeout", json_seconds(s->timeout_ms),
	    "graceful_timeout", json_seconds(s->graceful_timeout_ms),
	    "drain_idle", s->drain_idle_ms == DRAIN_IDLE_AUTO ? json_null()
	        : json_seconds(s->drain_idle_ms),
	    "backlog", (json_int_t)s->backlog,
	    "title", title,
	    "limit", (json_int_t)limit_requests,
	    "beat", json_seconds(beat_ms),
	    "log_level", levels[s->log_level]);
	if (o == NULL)
		return NULL;
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}
