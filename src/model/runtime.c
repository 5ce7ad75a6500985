/*
 * runtime.c - where the control socket of an instance is found.
 *
 * Makes paths and picks one line out of an ini text; whether anything exists there
 * is the callers' to find out. Fails only for want of memory or for a name that
 * would lead out of its folder.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/runtime.h"

#include "base/buf.h"

#include <limits.h>
#include <string.h>

static const char blanks[] = " \t\r\v\f";

char *
runtime_instance_name(const char *file)
{
	static const char suffix[] = ".ini";
	const char *base = file == NULL ? "" : file;
	const char *slash = strrchr(base, '/');
	size_t len;

	if (slash != NULL)
		base = slash + 1;
	len = strlen(base);
	if (len > strlen(suffix) && strcmp(base + len - strlen(suffix), suffix) == 0)
		len -= strlen(suffix);
	if (len == 0 || strspn(base, ".") == len)
		return strdup("preforkd");
	return strndup(base, len);
}

/* Appends folder[0..len)/middle, with or without the name between. */
static int
add_candidate(struct string_list *list, const char *folder, size_t len, const char *name)
{
	AUTO_BUF struct buf path = BUF_INIT(PATH_MAX);
	char *text;

	(void)buf_append(&path, folder, len);
	if (name != NULL)
		(void)buf_printf(&path, "/%s", name);
	(void)buf_puts(&path, "/" RUNTIME_SOCKET);
	text = buf_take(&path);
	if (text == NULL)
		return -ENOMEM;
	list->v[list->n++] = text;
	return 0;
}

int
runtime_control_candidates(const char *name, const char *runtime_directory,
    const char *xdg_runtime_dir, struct string_list *ret)
{
	struct string_list list = { 0 };
	AUTO_FREE char *user_folder = NULL;
	int r = 0;

	if (name == NULL || name[0] == '\0' || strchr(name, '/') != NULL ||
	    strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return -EINVAL;
	list.v = calloc(3, sizeof(*list.v));
	if (list.v == NULL)
		return -ENOMEM;
	if (runtime_directory != NULL && runtime_directory[0] == '/')
		r = add_candidate(&list, runtime_directory, strcspn(runtime_directory, ":"), NULL);
	if (r == 0)
		r = add_candidate(&list, RUNTIME_ROOT, strlen(RUNTIME_ROOT), name);
	if (r == 0 && xdg_runtime_dir != NULL && xdg_runtime_dir[0] == '/') {
		AUTO_BUF struct buf b = BUF_INIT(PATH_MAX);

		(void)buf_printf(&b, "%s/" RUNTIME_FOLDER, xdg_runtime_dir);
		user_folder = buf_take(&b);
		r = user_folder == NULL ? -ENOMEM :
		    add_candidate(&list, user_folder, strlen(user_folder), name);
	}
	if (r < 0) {
		runtime_free_candidates(&list);
		return r;
	}
	*ret = list;
	return 0;
}

void
runtime_free_candidates(struct string_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->v[i]);
	free(list->v);
	*list = (struct string_list){ 0 };
}

/* Cuts blanks off both ends of s[0..*len) and returns the new start. */
static const char *
trim(const char *s, size_t *len)
{
	while (*len > 0 && (s[0] == '\0' || strchr(blanks, s[0]) != NULL)) {
		s++;
		(*len)--;
	}
	while (*len > 0 && (s[*len - 1] == '\0' || strchr(blanks, s[*len - 1]) != NULL))
		(*len)--;
	return s;
}

static bool
equals(const char *s, size_t len, const char *word)
{
	return len == strlen(word) && memcmp(s, word, len) == 0;
}

/* The value when the line is `control = value`; its length in *ret_len. */
static const char *
control_value(const char *line, size_t len, size_t *ret_len)
{
	const char *sep = memchr(line, '=', len);
	const char *key, *value;
	size_t key_len, value_len;

	if (sep == NULL)
		return NULL;
	key_len = (size_t)(sep - line);
	key = trim(line, &key_len);
	if (!equals(key, key_len, "control"))
		return NULL;
	value_len = len - (size_t)(sep + 1 - line);
	value = trim(sep + 1, &value_len);
	*ret_len = value_len;
	return value_len == 0 ? NULL : value;
}

int
runtime_find_control(const char *text, size_t len, const char *base_dir, char **ret)
{
	const char *end = text + len;
	const char *found = NULL;
	size_t found_len = 0;
	bool is_ours = false;

	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		text += 3;
	while (text < end) {
		const char *eol = memchr(text, '\n', (size_t)(end - text));
		size_t line_len = (size_t)((eol == NULL ? end : eol) - text);
		const char *line = trim(text, &line_len);
		const char *value;
		size_t n = 0;

		text = eol == NULL ? end : eol + 1;
		if (line_len == 0 || line[0] == '#' || line[0] == ';')
			continue;
		if (line[0] == '[') {
			is_ours = equals(line, line_len, "[preforkd]");
			continue;
		}
		value = is_ours ? control_value(line, line_len, &n) : NULL;
		if (value != NULL) {
			found = value;
			found_len = n;
		}
	}
	if (found == NULL)
		return 0;

	AUTO_BUF struct buf path = BUF_INIT(PATH_MAX);

	if (found[0] != '/')
		(void)buf_printf(&path, "%s/", base_dir);
	(void)buf_append(&path, found, found_len);
	*ret = buf_take(&path);
	return *ret == NULL ? -ENOMEM : 1;
}
