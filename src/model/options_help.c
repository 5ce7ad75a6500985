/*
 * options_help.c - the text of preforkd --help, from the option table.
 *
 * Failures (a full buffer) stay in out->failed.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/options.h"

#include "base/buf.h"

#include <stdio.h>
#include <string.h>

enum {
	HELP_COLUMN = 32,
	LINE_COLUMNS = 80,
};

static void
print_row(struct buf *out, const char *left, const char *help, const char *def)
{
	char text[160];

	if (def)
		snprintf(text, sizeof(text), "%s (%s)", help, def);
	else
		snprintf(text, sizeof(text), "%s", help);
	if (strlen(left) + 2 > HELP_COLUMN)
		buf_printf(out, "%s\n%*s", left, HELP_COLUMN, "");
	else
		buf_printf(out, "%-*s", HELP_COLUMN, left);
	if (HELP_COLUMN + strlen(text) > LINE_COLUMNS && def)
		buf_printf(out, "%s\n%*s(%s)\n", help, HELP_COLUMN, "", def);
	else
		buf_printf(out, "%s\n", text);
}

void
options_print_help(struct buf *out)
{
	const char *group = "";
	char left[64];

	buf_puts(out,
	    "Usage: preforkd [--KEY=VALUE | --KEY VALUE]... [FILE.ini]\n"
	    "Runs workers that serve a Python application, watches them, and replaces\n"
	    "them without losing a request. Every setting is an option and a key of\n"
	    "the ini's section [preforkd]; the command line wins.\n"
	    "\nTry: preforkd --wsgi app:app --workers 2 --listen 127.0.0.1:8000\n"
	    "\nWhat to do instead of serving:\n");
	print_row(out, "  --check", "check all settings", NULL);
	print_row(out, "  --check-app", "check, and boot one worker on no socket", NULL);
	print_row(out, "  --show-settings", "print the settings in effect as an ini", NULL);
	print_row(out, "  --version", "print the version", NULL);
	print_row(out, "  --help", "print this text", NULL);
	for (size_t i = 0; i < options_n; i++) {
		const struct option *o = &options[i];

		if (strcmp(group, o->group) != 0)
			buf_printf(out, "\n%s:\n", o->group);
		group = o->group;
		snprintf(left, sizeof(left), "  --%s %s", o->key, o->arg);
		print_row(out, left, o->help, o->def);
	}
	buf_puts(out, "\nOther sections:\n");
	print_row(out, "  --server KEY=VALUE", "an option of the server, as in [server]", NULL);
	print_row(out, "  --env NAME=VALUE", "a variable of the workers, as in [env]", NULL);
	buf_puts(out,
	    "\nSIZE is 512K, 300M, 1.5G (a bare number is refused). TIME is in seconds, or\n"
	    "500ms, 10s, 5min, 2h, 1d. 0 switches a limit off. MODE is octal.\n"
	    "Signals: TERM stop (again: at once), INT and QUIT stop at once, HUP reload,\n"
	    "USR1 reopen logs, TTIN and TTOU one worker more or less.\n"
	    "Exit codes: 0 stopped, 1 failed at run time, 2 usage, 78 bad settings.\n"
	    "See preforkd(8), preforkd.ini(5), preforkctl(1).\n");
}
