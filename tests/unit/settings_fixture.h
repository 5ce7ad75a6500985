/*
 * settings_fixture.h - settings from literals, for the tests of settings.
 */
#ifndef PREFORKD_TESTS_SETTINGS_FIXTURE_H
#define PREFORKD_TESTS_SETTINGS_FIXTURE_H

#include "model/settings.h"

#include <check.h>
#include <string.h>

#define APP "[preforkd]\nwsgi = app:app\n"

/* args: up to three pairs of a command line: key, value, key, value. */
struct given {
	const char *ini;		/* NULL: no file */
	const char *args[6];
	const char *concurrency, *port;
};

static inline int
load_given(const struct given *g, struct settings **ret, struct errs *errs)
{
	struct settings_override overrides[3];
	struct settings_source src = {
		.file = g->ini ? "app.ini" : NULL,
		.text = g->ini,
		.len = g->ini ? strlen(g->ini) : 0,
		.base_dir = "/srv/shop",
		.overrides = overrides,
		.web_concurrency = g->concurrency,
		.port = g->port,
		.default_workers = 6,
	};

	for (size_t i = 0; i + 1 < ARRAY_LEN(g->args) && g->args[i]; i += 2)
		overrides[src.n_overrides++] = (struct settings_override){
			.key = g->args[i], .value = g->args[i + 1],
		};
	return settings_load(&src, ret, errs);
}

static inline struct settings *
load_ok(const struct given *g)
{
	struct settings *s = NULL;
	struct errs errs = {0};
	int r = load_given(g, &s, &errs);

	ck_assert_msg(r == 0, "%s: %s", g->ini ? g->ini : "(command line)",
	    errs.n > 0 ? errs.text[0] : "no text");
	ck_assert_uint_eq(errs.n, 0);
	return s;
}

#endif
