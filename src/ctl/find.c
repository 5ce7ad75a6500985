/*
 * find.c - which master preforkctl talks to.
 *
 * A socket file proves nothing, so every place is tried by connecting. An ini file is
 * read for its `control` line only and may be wrong otherwise: the master that runs
 * is asked with the file that its operator has just edited.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ctl/find.h"

#include "base/io.h"
#include "model/runtime.h"

#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define INI_MAX   (1u << 20)
#define FOUND_MAX 64

/* Absolute folder of a file that exists; owned, NULL: errno. */
static char *
folder_of(const char *file)
{
	char *real = realpath(file, NULL);
	char *slash = real == NULL ? NULL : strrchr(real, '/');

	if (slash != NULL)
		slash[slash == real ? 1 : 0] = '\0';
	return real;
}

static int
read_file(const char *path, struct buf *out)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	char chunk[4096];
	ssize_t n;

	if (fd < 0)
		return -errno;
	while ((n = read(fd, chunk, sizeof(chunk))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (buf_append(out, chunk, (size_t)n) < 0)
			return -EFBIG;
	}
	return 0;
}

static enum ctl_exit
exit_of(int r)
{
	return r == -ETIMEDOUT ? CTL_TIMEOUT : CTL_UNREACHABLE;
}

static enum ctl_exit
connect_to(const char *path, uint64_t deadline_ms, struct client *c, char **ret_path)
{
	struct err e;
	int r = client_connect(c, path, deadline_ms, &e);

	if (r < 0) {
		ctl_complain("%s%s", e.text, r == -ECONNREFUSED ? " (no master listens there)" :
		    "");
		return exit_of(r);
	}
	*ret_path = strdup(path);
	if (*ret_path == NULL) {
		client_close(c);
		ctl_complain("out of memory");
		return CTL_FAILED;
	}
	return CTL_DONE;
}

/* The first of the places where somebody answers. */
static enum ctl_exit
connect_to_first(const struct string_list *places, uint64_t deadline_ms, struct client *c,
    char **ret_path)
{
	AUTO_BUF struct buf tried = BUF_INIT(16384);
	enum ctl_exit result = CTL_UNREACHABLE;

	for (size_t i = 0; i < places->n; i++) {
		struct err e;
		int r = client_connect(c, places->v[i], deadline_ms, &e);

		if (r == 0) {
			*ret_path = strdup(places->v[i]);
			return *ret_path == NULL ? CTL_FAILED : CTL_DONE;
		}
		if (r == -ETIMEDOUT)
			result = CTL_TIMEOUT;
		(void)buf_printf(&tried, "%s%s", tried.len > 0 ? "; " : "", e.text);
	}
	ctl_complain("%s", tried.data == NULL ? "no place to look at" : tried.data);
	return result;
}

static enum ctl_exit
find_by_file(const char *file, uint64_t deadline_ms, struct client *c, char **ret_path)
{
	AUTO_BUF struct buf text = BUF_INIT(INI_MAX);
	AUTO_FREE char *folder = folder_of(file);
	AUTO_FREE char *path = NULL;
	AUTO_FREE char *name = NULL;
	struct string_list places;
	enum ctl_exit result;
	int r;

	r = folder == NULL ? -errno : read_file(file, &text);
	if (r < 0) {
		ctl_complain("cannot read '%s': %s", file, strerror(-r));
		return CTL_USAGE;
	}
	r = text.len == 0 ? 0 : runtime_find_control(text.data, text.len, folder, &path);
	if (r > 0)
		return connect_to(path, deadline_ms, c, ret_path);
	name = runtime_instance_name(file);
	if (r < 0 || name == NULL || runtime_control_candidates(name, getenv("RUNTIME_DIRECTORY"),
	    getenv("XDG_RUNTIME_DIR"), &places) < 0) {
		ctl_complain("out of memory");
		return CTL_FAILED;
	}
	result = connect_to_first(&places, deadline_ms, c, ret_path);
	runtime_free_candidates(&places);
	return result;
}

/* Adds the sockets that the candidates' places of all instances hold. */
static int
glob_sockets(glob_t *found, struct buf *places)
{
	const char *runtime = getenv("RUNTIME_DIRECTORY"), *user = getenv("XDG_RUNTIME_DIR");
	char pattern[3][PATH_MAX] = { "", RUNTIME_ROOT "/*/" RUNTIME_SOCKET, "" };
	int flags = 0;

	if (runtime != NULL && runtime[0] == '/')
		(void)snprintf(pattern[0], PATH_MAX, "%.*s/" RUNTIME_SOCKET,
		    (int)MIN_OF(strcspn(runtime, ":"), (size_t)PATH_MAX / 2), runtime);
	if (user != NULL && user[0] == '/' && strlen(user) < PATH_MAX / 2)
		(void)snprintf(pattern[2], PATH_MAX, "%.*s/" RUNTIME_FOLDER "/*/" RUNTIME_SOCKET,
		    PATH_MAX / 2, user);
	for (size_t i = 0; i < ARRAY_LEN(pattern); i++) {
		int r;

		if (pattern[i][0] == '\0')
			continue;
		(void)buf_printf(places, "%s%s", places->len > 0 ? ", " : "", pattern[i]);
		r = glob(pattern[i], flags, NULL, found);
		if (r == GLOB_NOSPACE)
			return -ENOMEM;
		flags = GLOB_APPEND;
	}
	return 0;
}

/* Of two names for one socket the second is no second instance. */
static bool
is_same_socket(const char *a, const char *b)
{
	struct stat x, y;

	return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev &&
	    x.st_ino == y.st_ino;
}

static enum ctl_exit
find_only(uint64_t deadline_ms, struct client *c, char **ret_path)
{
	AUTO_BUF struct buf places = BUF_INIT(4 * PATH_MAX);
	AUTO_BUF struct buf refused = BUF_INIT(65536);
	AUTO_BUF struct buf running = BUF_INIT(65536);
	const char *first = NULL;
	enum ctl_exit result = CTL_UNREACHABLE;
	size_t n = 0;
	glob_t found = { 0 };

	if (glob_sockets(&found, &places) < 0) {
		ctl_complain("out of memory");
		globfree(&found);
		return CTL_FAILED;
	}
	for (size_t i = 0; i < MIN_OF(found.gl_pathc, (size_t)FOUND_MAX); i++) {
		const char *path = found.gl_pathv[i];
		struct client other;
		struct err e;
		int r;

		if (first != NULL && is_same_socket(first, path))
			continue;
		r = client_connect(&other, path, deadline_ms, &e);
		if (r < 0) {
			if (r == -ETIMEDOUT)
				result = CTL_TIMEOUT;
			if (r != -ECONNREFUSED && r != -ENOENT)
				(void)buf_printf(&refused, "; %s", e.text);
			continue;
		}
		(void)buf_printf(&running, "  --socket %s\n", path);
		if (n++ == 0) {
			first = path;
			*c = other;
		} else {
			client_close(&other);
		}
	}
	if (n == 1 && (*ret_path = strdup(first)) != NULL) {
		result = CTL_DONE;
	} else if (n > 1) {
		ctl_complain("%zu instances are running, choose one:", n);
		ctl_show(STDERR_FILENO, "", running.data == NULL ? "" : running.data);
		result = CTL_USAGE;
	} else {
		ctl_complain("no running preforkd was found; looked at %s%s; use --file FILE.ini or"
		    " --socket PATH", places.data == NULL ? "nothing" : places.data,
		    refused.data == NULL ? "" : refused.data);
	}
	if (n > 0 && result != CTL_DONE)
		client_close(c);
	globfree(&found);
	return result;
}

enum ctl_exit
find_master(const struct ctl_options *o, uint64_t deadline_ms, struct client *c,
    char **ret_path)
{
	if (o->socket != NULL)
		return connect_to(o->socket, deadline_ms, c, ret_path);
	if (o->file != NULL)
		return find_by_file(o->file, deadline_ms, c, ret_path);
	return find_only(deadline_ms, c, ret_path);
}
