/*
 * paths.h - absolute paths from what a user wrote. Pure.
 *
 * "." and doubled slashes go away; ".." stays. The old value at *at is freed when the
 * new one is stored, which is only on success. Failures are -EINVAL or -ENOMEM, with e.
 */
#ifndef PREFORKD_PATHS_H
#define PREFORKD_PATHS_H

#include "base/base.h"
#include "base/err.h"

/* One path; a relative one starts from base_dir. */
int path_resolve(const char *text, const char *base_dir, char **at, struct err *e);

/* Several between ':' or ','; stored with ':'. The result has at most max bytes. */
int path_list_resolve(const char *text, const char *base_dir, size_t max, char **at,
    struct err *e);

#endif
