/*
 * made_up.h - a made-up /proc and /sys/fs/cgroup in a folder of the test's own.
 */
#ifndef PREFORKD_TEST_MADE_UP_H
#define PREFORKD_TEST_MADE_UP_H

#include "system/cgroup.h"
#include "system/procmem.h"

#include "own_files.h"

#include <check.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static char root[OWN_PATH_MAX];

static inline void
setup(void)
{
	own_folder(root);
	procmem_root = root;
	cgroup_root = root;
}

static inline void
teardown(void)
{
	cgroup_forget();
	own_folder_remove(root);
}

/* Makes the file and the folders above it. */
static inline void
put(const char *name, const char *text)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')) != NULL; *p++ = '/') {
		*p = '\0';
		mkdir(path, 0755);
	}
	f = fopen(path, "w");
	ck_assert_msg(f != NULL, "%s", path);
	fputs(text, f);
	fclose(f);
}

#endif
