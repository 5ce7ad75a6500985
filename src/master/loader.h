/*
 * loader.h - from the command line, the ini file and the environment to settings.
 *
 * The command line is parsed once; the file is read again at each reload.
 */
#ifndef PREFORKD_LOADER_H
#define PREFORKD_LOADER_H

#include "base/base.h"
#include "base/err.h"
#include "model/settings.h"

#define LOADER_FILE_MAX (1u << 20)	/* bytes of an ini file */

struct loader {
	char *file;		/* absolute path of the ini, or NULL */
	char *base_dir;		/* absolute */
	struct settings_override *overrides;	/* into argv, or owned_keys */
	size_t n_overrides;
	char **owned_keys;
	size_t n_owned_keys;
	char *web_concurrency;
	char *port;
	unsigned cpus;
};

enum loader_mode { LOADER_RUN, LOADER_CHECK, LOADER_CHECK_APP, LOADER_SHOW, LOADER_VERSION,
	LOADER_HELP };

/* 0, or -EINVAL with e (usage). argv stays borrowed. */
int loader_init(struct loader *l, int argc, char **argv, enum loader_mode *ret_mode,
    struct err *e);
void loader_fini(struct loader *l);

/* Reads the file and checks everything. 0, or negative errno with at least one text. */
int loader_load(const struct loader *l, struct settings **ret, struct errs *errs);

#endif
