/*
 * own_files.h - folders and files of a test's own, below $TMPDIR.
 */
#ifndef PREFORKD_TESTS_OWN_FILES_H
#define PREFORKD_TESTS_OWN_FILES_H

#include "base/base.h"

#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define OWN_PATH_MAX 64		/* leaves room for the name of a socket below it */

static inline void
own_template(char name[OWN_PATH_MAX])
{
	const char *tmp = getenv("TMPDIR");
	int n = snprintf(name, OWN_PATH_MAX, "%s/preforkd.XXXXXX",
	    tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp");

	ck_assert_msg(n > 0 && n < OWN_PATH_MAX, "TMPDIR is too long: %s", tmp);
}

/* Makes a folder that anybody may look into. */
static inline void
own_folder(char name[OWN_PATH_MAX])
{
	own_template(name);
	ck_assert_ptr_nonnull(mkdtemp(name));
	ck_assert_int_eq(chmod(name, 0755), 0);
}

static inline int
own_remove(const char *name, const struct stat *st UNUSED, int flag UNUSED,
    struct FTW *ftw UNUSED)
{
	return remove(name);
}

/* Removes it with all that is in it. */
static inline void
own_folder_remove(const char *name)
{
	ck_assert_int_eq(nftw(name, own_remove, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* Opens a file that has no name; -1: it could not be made. */
static inline int
own_file(void)
{
	char name[OWN_PATH_MAX];
	int fd;

	own_template(name);
	fd = mkstemp(name);
	if (fd >= 0)
		unlink(name);
	return fd;
}

#endif
