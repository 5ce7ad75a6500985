/*
 * settings_print.c - settings as an ini, and what a reload cannot change.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/settings.h"

#include "base/buf.h"
#include "model/inifile.h"
#include "model/options.h"
#include "model/setting.h"

#include <string.h>

static const char *
origin_comment(enum setting_origin origin)
{
	switch (origin) {
	case ORIGIN_ENVIRONMENT:
		return "# from the environment:\n";
	case ORIGIN_COMMAND_LINE:
		return "# from the command line:\n";
	case ORIGIN_DEFAULT:
	case ORIGIN_FILE:
		break;
	}
	return "";
}

static void
print_pairs(const struct pair_list *l, const char *section, struct buf *out)
{
	if (l->n > 0)
		buf_printf(out, "\n[%s]\n", section);
	for (size_t i = 0; i < l->n; i++)
		buf_printf(out, "%s =%s%s\n", l->v[i].key, *l->v[i].value != '\0' ? " " : "",
		    l->v[i].value);
}

static int
print_option(const struct settings *s, const struct option *o, struct buf *out)
{
	struct buf text AUTO_BUF = BUF_INIT(INIFILE_LINE_MAX);

	if (o->type == OPT_LIST) {
		const struct string_list *l = (const void *)((const char *)s + o->offset);

		/* Any number of values, while a line has an end. */
		for (size_t i = 0; i < l->n; i++)
			buf_printf(out, "%s = %s\n", o->key, l->v[i]);
		return 0;
	}
	if (setting_print(s, o, &text) < 0)
		return -ENOMEM;
	if (text.len == 0)
		return buf_printf(out, "; %s =\n", o->key);
	return buf_printf(out, "%s = %s\n", o->key, text.data);
}

int
settings_print(const struct settings *s, struct buf *out)
{
	const char *group = "";

	buf_puts(out, "[preforkd]\n");
	for (size_t i = 0; i < options_n; i++) {
		const struct option *o = &options[i];

		if (strcmp(group, o->group) != 0)
			buf_printf(out, "%s# %s\n", *group != '\0' ? "\n" : "", o->group);
		group = o->group;
		buf_puts(out, origin_comment(s->origin[i]));
		if (print_option(s, o, out) < 0)
			return -ENOMEM;
	}
	print_pairs(&s->server, "server", out);
	print_pairs(&s->env, "env", out);
	return out->failed ? -ENOMEM : 0;
}

static bool
is_same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Sockets that were passed to the process when it started; a reload gets no others. */
static bool
is_inherited(const char *address)
{
	return strcmp(address, "systemd") == 0 || strncmp(address, "fd:", 3) == 0;
}

static bool
has_all_inherited(const struct string_list *all, const struct string_list *of)
{
	for (size_t i = 0; i < of->n; i++) {
		bool found = !is_inherited(of->v[i]);

		for (size_t j = 0; j < all->n && !found; j++)
			found = strcmp(all->v[j], of->v[i]) == 0;
		if (!found)
			return false;
	}
	return true;
}

/* True when a reload from old to new_ would have to change something that it cannot. */
static bool
needs_restart(const struct option *o, const struct settings *old, const struct settings *new_)
{
	if (strcmp(o->key, "listen") == 0)
		return !has_all_inherited(&old->listen, &new_->listen) ||
		    !has_all_inherited(&new_->listen, &old->listen);
	if (!(o->flags & OPTF_RESTART))
		return false;
	/* A unit test holds that these are strings. */
	return !is_same_text(*(char *const *)(const void *)((const char *)old + o->offset),
	    *(char *const *)(const void *)((const char *)new_ + o->offset));
}

void
settings_restart_diff(const struct settings *old, const struct settings *new_, struct buf *out)
{
	const char *comma = "";

	for (size_t i = 0; i < options_n; i++)
		if (needs_restart(&options[i], old, new_)) {
			buf_printf(out, "%s%s", comma, options[i].key);
			comma = ", ";
		}
}

static int
copy_list(const struct string_list *from, struct string_list *to)
{
	struct string_list l = {0};

	for (size_t i = 0; i < from->n; i++)
		if (string_list_add(&l, from->v[i]) < 0) {
			string_list_clear(&l);
			return -ENOMEM;
		}
	string_list_clear(to);
	*to = l;
	return 0;
}

int
settings_keep_restart_keys(const struct settings *old, struct settings *new_)
{
	for (size_t i = 0; i < options_n; i++) {
		const struct option *o = &options[i];
		const char *value;
		char *copy = NULL;

		if (!needs_restart(o, old, new_))
			continue;
		if (o->type == OPT_LIST) {
			if (copy_list(&old->listen, &new_->listen) < 0)
				return -ENOMEM;
			continue;
		}
		value = *(char *const *)(const void *)((const char *)old + o->offset);
		if (value) {
			copy = strdup(value);
			if (!copy)
				return -ENOMEM;
		}
		base_replace((void *)((char *)new_ + o->offset), copy);
	}
	return 0;
}
