/*
 * main.c - preforkd: what is asked for on the command line, and the exit code.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"
#include "base/log.h"
#include "master/launch.h"
#include "master/loader.h"
#include "master/master.h"
#include "master/signals.h"
#include "model/options.h"
#include "system/notify.h"
#include "system/title.h"

#include <stdio.h>
#include <string.h>

enum { EXIT_OK = 0, EXIT_RUN = 1, EXIT_USAGE = 2, EXIT_SETTINGS = 78 };

static int
print(struct buf *b)
{
	if (b->failed || (b->len > 0 && fwrite(b->data, 1, b->len, stdout) != b->len) ||
	    fflush(stdout) != 0) {
		fprintf(stderr, "preforkd: cannot write: %s\n", strerror(errno));
		return EXIT_RUN;
	}
	return EXIT_OK;
}

static int
print_help(void)
{
	AUTO_BUF struct buf b = BUF_INIT(1u << 20);

	options_print_help(&b);
	return print(&b);
}

static int
show_settings(const struct settings *s)
{
	AUTO_BUF struct buf b = BUF_INIT(1u << 20);

	settings_print(s, &b);
	return print(&b);
}

static int
complain(const struct errs *errs)
{
	for (size_t i = 0; i < errs->n; i++) {
		fprintf(stderr, "%s\n", errs->text[i]);
		if (i == 0)
			notify_status(errs->text[i]);
	}
	if (errs->dropped > 0)
		fprintf(stderr, "and %zu more\n", errs->dropped);
	return EXIT_SETTINGS;
}

static int
run(const struct loader *l, struct settings *s, bool is_check)
{
	char title[128];

	log_set_level((enum log_level)s->log_level);
	log_set_format((enum log_format)s->log_format);
	if (journal_is_stderr() && s->log_format == LOG_FORMAT_TEXT)
		log_set_sink(journal_sink, NULL);
	launch_init();
	snprintf(title, sizeof title, "preforkd: %s master", s->name);
	title_set(title);
	return master_run(l, s, is_check);
}

static int
act(const struct loader *l, enum loader_mode mode)
{
	CLEANUP(settings_freep) struct settings *s = NULL;
	CLEANUP(errs_clear) struct errs errs = {0};

	if (loader_load(l, &s, &errs) < 0)
		return complain(&errs);
	switch (mode) {
	case LOADER_CHECK:
		printf("settings are good: %s\n", settings_app_name(s));
		return EXIT_OK;
	case LOADER_SHOW:
		return show_settings(s);
	case LOADER_RUN:
	case LOADER_CHECK_APP:
		return run(l, TAKE_PTR(s), mode == LOADER_CHECK_APP);
	case LOADER_VERSION:
	case LOADER_HELP:
		break;
	}
	return EXIT_USAGE;
}

int
main(int argc, char **argv)
{
	/* Freed last: the loader's overrides point into it. */
	CLEANUP(title_free_argv) char **copy = NULL;
	CLEANUP(loader_fini) struct loader l = {0};
	enum loader_mode mode = LOADER_RUN;
	struct err e;

	signals_prepare();
	copy = title_init(argc, argv);
	if (copy == NULL) {
		fprintf(stderr, "preforkd: out of memory\n");
		return EXIT_RUN;
	}
	log_init(STDERR_FILENO);
	notify_init();
	if (loader_init(&l, argc, copy, &mode, &e) < 0) {
		fprintf(stderr, "preforkd: %s\npreforkd --help lists all options\n", e.text);
		return EXIT_USAGE;
	}
	if (mode == LOADER_HELP)
		return print_help();
	if (mode == LOADER_VERSION) {
		printf("preforkd %s\n", PACKAGE_VERSION);
		return EXIT_OK;
	}
	return act(&l, mode);
}
