/*
 * paths.c - text to absolute path. No system call: nothing is looked up.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/paths.h"

#include "base/buf.h"
#include "model/values.h"

#include <string.h>

enum { PATH_TEXT_MAX = 4095 };

static int
complain(struct err *e, const char *text, const char *what)
{
	char quoted[VALUE_QUOTE_MAX];

	return err_set(e, EINVAL, "%s %s", value_quote(text, quoted, sizeof(quoted)), what);
}

/*
 * Appends path to out, absolute. "." and empty components go away; ".." stays, because
 * only the kernel knows where a symbolic link leads.
 */
static int
append_path(struct buf *out, const char *path, size_t len, const char *base_dir)
{
	const char *end = path + len;
	size_t start = out->len;

	if (len == 0 || *path != '/') {
		size_t n = strlen(base_dir);

		while (n > 0 && base_dir[n - 1] == '/')
			n--;
		buf_append(out, base_dir, n);
	}
	while (path < end) {
		const char *slash = memchr(path, '/', (size_t)(end - path));
		size_t n = slash ? (size_t)(slash - path) : (size_t)(end - path);

		if (n > 0 && !(n == 1 && *path == '.')) {
			buf_putc(out, '/');
			buf_append(out, path, n);
		}
		path += n + (slash ? 1 : 0);
	}
	if (out->len == start)
		buf_putc(out, '/');
	return out->failed ? -EINVAL : 0;
}

static int
check_path(const char *text, size_t len, struct err *e)
{
	if (len == 0)
		return complain(e, text, "has an empty path in it");
	if (*text == '~')
		return complain(e, text, "starts with '~', which is not expanded; write the whole"
		    " path");
	return 0;
}

int
path_resolve(const char *text, const char *base_dir, char **at, struct err *e)
{
	struct buf out AUTO_BUF = BUF_INIT(PATH_TEXT_MAX);
	char *path;
	int r;

	r = check_path(text, strlen(text), e);
	if (r < 0)
		return r;
	if (append_path(&out, text, strlen(text), base_dir) < 0)
		return complain(e, text, "is too long for a path");
	path = buf_take(&out);
	if (!path)
		return err_set(e, ENOMEM, "out of memory");
	base_replace(at, path);
	return 0;
}

int
path_list_resolve(const char *text, const char *base_dir, size_t max, char **at,
    struct err *e)
{
	struct buf out AUTO_BUF = BUF_INIT(max);
	const char *p = text;
	char *list;
	int r;

	for (;;) {
		size_t len;

		p += strspn(p, " \t");
		len = strcspn(p, ":,");
		r = check_path(p, len, e);
		if (r < 0)
			return r;
		if (out.len > 0)
			buf_putc(&out, ':');
		if (append_path(&out, p, len, base_dir) < 0)
			return complain(e, text, "is too long");
		if (p[len] == '\0')
			break;
		p += len + 1;
	}
	list = buf_take(&out);
	if (!list)
		return err_set(e, ENOMEM, "out of memory");
	base_replace(at, list);
	return 0;
}
