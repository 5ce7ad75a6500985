/*
 * title.c - write over the memory that /proc/PID/cmdline shows (proc(5)), and set the
 * short name (PR_SET_NAME, prctl(2)).
 *
 * SPDX-License-Identifier: MIT
 */
#include "system/title.h"

#include "base/base.h"

#include <string.h>
#include <sys/prctl.h>

static char *area;
static size_t area_len;


void
title_free_argv(char ***copy)
{
	for (char **arg = *copy; arg != NULL && *arg != NULL; arg++)
		free(*arg);
	free(*copy);
	*copy = NULL;
}

char **
title_init(int argc, char **argv)
{
	char *end = argv[0];
	char **copy = calloc((size_t)argc + 1, sizeof *copy);

	if (copy == NULL)
		return NULL;
	for (int i = 0; i < argc; i++) {
		copy[i] = strdup(argv[i]);
		if (copy[i] == NULL) {
			title_free_argv(&copy);
			return NULL;
		}
		/* Only what lies in one piece can be written over as one. */
		if (argv[i] == end)
			end = argv[i] + strlen(argv[i]) + 1;
	}
	area = argc > 0 ? argv[0] : NULL;
	area_len = area != NULL ? (size_t)(end - area) : 0;
	return copy;
}

void
title_set(const char *title)
{
	size_t len = strlen(title);

	(void)prctl(PR_SET_NAME, "preforkd", 0, 0, 0);
	if (area_len < 2)
		return;
	len = MIN_OF(len, area_len - 1);
	memcpy(area, title, len);
	memset(area + len, 0, area_len - len);
}
