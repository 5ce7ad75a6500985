/*
 * loader.c - see loader.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/loader.h"

#include "model/options.h"
#include "model/values.h"
#include "system/cgroup_memory.h"
#include "system/procmem.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const struct {
	const char *word;
	enum loader_mode mode;
} modes[] = {
	{ "--check", LOADER_CHECK },
	{ "--check-app", LOADER_CHECK_APP },
	{ "--show-settings", LOADER_SHOW },
	{ "--version", LOADER_VERSION },
	{ "--help", LOADER_HELP },
	{ "-h", LOADER_HELP },
	{ "-V", LOADER_VERSION },
};

static bool
find_mode(const char *word, enum loader_mode *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		if (strcmp(word, modes[i].word) == 0) {
			*ret = modes[i].mode;
			return true;
		}
	}
	return false;
}

/* --KEY=VALUE or --KEY VALUE at argv[*at]; *at is moved past what was used. */
static int
take_option(struct loader *l, int argc, char **argv, int *at, struct err *e)
{
	const char *word = argv[*at] + 2, *eq = strchr(word, '=');
	size_t len = eq != NULL ? (size_t)(eq - word) : strlen(word);
	const char *value = eq != NULL ? eq + 1 : NULL;
	const struct option *option;
	char *key = strndup(word, len);
	bool flag;

	if (key == NULL)
		return err_sys(e, ENOMEM, "command line");
	l->owned_keys[l->n_owned_keys++] = key;
	option = option_find(key);
	if (option == NULL && strcmp(key, "env") != 0 && strcmp(key, "server") != 0) {
		const char *near = option_nearest(key);

		return near != NULL && near[0] != '['
		    ? err_set(e, EINVAL, "unknown option '--%s'; did you mean '--%s'?", key, near)
		    : err_set(e, EINVAL, "unknown option '--%s'", key);
	}
	if (eq == NULL && *at + 1 < argc)
		value = argv[*at + 1];
	/* --recycle-dry-run alone means yes; the word after it may be the ini file. */
	if (eq == NULL && option != NULL && option->type == OPT_BOOL &&
	    (value == NULL || value_parse_bool(value, &flag, NULL) < 0))
		value = NULL;
	else if (value == NULL)
		return err_set(e, EINVAL, "option '--%s' needs a value", key);
	else if (eq == NULL)
		++*at;
	l->overrides[l->n_overrides++] = (struct settings_override){ .key = key, .value = value };
	return 0;
}

static int
take_file(struct loader *l, const char *word, struct err *e)
{
	if (l->file != NULL)
		return err_set(e, EINVAL, "one ini file only, not also '%s'", word);
	l->file = realpath(word, NULL);
	if (l->file != NULL)
		return 0;
	if (strchr(word, ':') != NULL && strchr(word, '/') == NULL)
		return err_set(e, EINVAL, "'%s' is an application, not an ini file: write "
		    "--wsgi %s (or --asgi %s), or put 'wsgi = %s' into an ini file", word, word,
		    word, word);
	return err_sys(e, errno, "cannot read '%s'", word);
}

static int
find_base_dir(struct loader *l, struct err *e)
{
	char *slash;

	if (l->file == NULL) {
		l->base_dir = getcwd(NULL, 0);
	} else {
		l->base_dir = strdup(l->file);
		slash = l->base_dir != NULL ? strrchr(l->base_dir, '/') : NULL;
		if (slash != NULL)
			slash[slash == l->base_dir] = '\0';
	}
	return l->base_dir != NULL ? 0 : err_sys(e, errno, "cannot find the current folder");
}

static char *
copy_env(const char *name)
{
	const char *v = getenv(name);

	return v != NULL && v[0] != '\0' ? strdup(v) : NULL;
}

int
loader_init(struct loader *l, int argc, char **argv, enum loader_mode *ret_mode, struct err *e)
{
	enum loader_mode mode = LOADER_RUN;
	int r = 0;

	*l = (struct loader){ .cpus = cgroup_cpus() };
	l->overrides = calloc((size_t)argc + 1, sizeof *l->overrides);
	l->owned_keys = calloc((size_t)argc + 1, sizeof *l->owned_keys);
	if (l->overrides == NULL || l->owned_keys == NULL)
		return err_sys(e, ENOMEM, "command line");
	for (int i = 1; i < argc && r >= 0; i++) {
		enum loader_mode found;

		if (find_mode(argv[i], &found))
			mode = found;
		else if (strncmp(argv[i], "--", 2) == 0 && argv[i][2] != '\0')
			r = take_option(l, argc, argv, &i, e);
		else if (argv[i][0] == '-')
			r = err_set(e, EINVAL, "unknown option '%s'", argv[i]);
		else
			r = take_file(l, argv[i], e);
	}
	/* Help and version are given whatever else is wrong. */
	if (mode == LOADER_HELP || mode == LOADER_VERSION)
		r = 0;
	if (r >= 0)
		r = find_base_dir(l, e);
	l->web_concurrency = copy_env("WEB_CONCURRENCY");
	l->port = copy_env("PORT");
	*ret_mode = mode;
	return r;
}

void
loader_fini(struct loader *l)
{
	for (size_t i = 0; i < l->n_owned_keys; i++)
		free(l->owned_keys[i]);
	free(l->owned_keys);
	free(l->overrides);
	free(l->file);
	free(l->base_dir);
	free(l->web_concurrency);
	free(l->port);
}

/* The whole file, owned. A FIFO or device would stop the loop: regular files only. */
static int
read_file(const char *path, char **ret, size_t *ret_len, struct errs *errs)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	AUTO_FREE char *data = NULL;
	struct stat st;
	size_t len = 0;

	if (fd < 0 || fstat(fd, &st) < 0) {
		errs_add(errs, "%s: cannot read it: %s", path, strerror(errno));
		return -EIO;
	}
	if (!S_ISREG(st.st_mode) || st.st_size > (off_t)LOADER_FILE_MAX) {
		errs_add(errs, "%s: not a regular file of at most 1 MiB", path);
		return -EINVAL;
	}
	data = malloc(LOADER_FILE_MAX + 1);
	if (data == NULL) {
		errs_add(errs, "%s: out of memory", path);
		return -ENOMEM;
	}
	while (len < LOADER_FILE_MAX) {
		ssize_t n = read(fd, data + len, LOADER_FILE_MAX - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			errs_add(errs, "%s: cannot read it: %s", path, strerror(errno));
			return -EIO;
		}
		if (n == 0)
			break;
		len += (size_t)n;
	}
	*ret = TAKE_PTR(data);
	*ret_len = len;
	return 0;
}

int
loader_load(const struct loader *l, struct settings **ret, struct errs *errs)
{
	AUTO_FREE char *text = NULL;
	struct settings_source src = {
		.file = l->file,
		.base_dir = l->base_dir,
		.overrides = l->overrides,
		.n_overrides = l->n_overrides,
		.web_concurrency = l->web_concurrency,
		.port = l->port,
		.default_workers = l->cpus,
	};
	struct cgroup_memory memory;
	int r;

	/* It may have changed since the last load. */
	if (cgroup_memory_find() >= 0 && cgroup_memory_read(&memory) >= 0)
		src.cgroup_limit_bytes = memory.limit_bytes;

	if (l->file != NULL) {
		r = read_file(l->file, &text, &src.len, errs);
		if (r < 0)
			return r;
		src.text = text;
	}
	r = settings_load(&src, ret, errs);
	if (r < 0 && errs->n == 0)
		errs_add(errs, "settings: %s", strerror(-r));
	return r;
}
