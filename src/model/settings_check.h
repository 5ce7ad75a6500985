/*
 * settings_check.h - do the settings fit together, and where does each come from?
 *
 * Internal to settings.c. A check looks at values that were each legal alone; one
 * that was not (is_bad) is left out, so that a mistake is told once.
 */
#ifndef PREFORKD_SETTINGS_CHECK_H
#define PREFORKD_SETTINGS_CHECK_H

#include "base/base.h"
#include "base/err.h"
#include "model/options.h"
#include "model/settings.h"

struct setting_place {
	enum setting_origin origin;
	unsigned line;		/* with ORIGIN_FILE */
	bool is_bad;		/* reported already */
};

/* What is known while settings are loaded. */
struct settings_load {
	const char *file;		/* for messages, NULL: no ini */
	struct settings *s;
	struct setting_place *places;	/* per row of options[] */
	bool app_mistyped;		/* an unknown key looks like wsgi, asgi or command */
	uint64_t cgroup_limit_bytes;	/* 0: there is none */
	struct errs *errs;
};

/* Adds "file:line: key: text" or what fits the origin of o's value. */
void settings_complain(struct settings_load *l, const struct option *o, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* The prefix of a text about a key of another section: "file:line" or "--section". */
void settings_complain_pair(struct settings_load *l, const char *section, const char *key,
    unsigned line, const char *text);

/* Adds every contradiction to l->errs. */
void settings_check(struct settings_load *l);
/* Those of limits on memory. */
void settings_check_memory(struct settings_load *l);

#endif
