/*
 * runtime.h - where the control socket of an instance is found. Pure.
 *
 * preforkd and preforkctl must come to the same place from the same ini file; both
 * ask here. The environment is the caller's to read.
 */
#ifndef PREFORKD_RUNTIME_H
#define PREFORKD_RUNTIME_H

#include "base/base.h"
#include "model/settings.h"

/* Folders of instances below the system's and a user's runtime folder:
 * RUNTIME_ROOT/NAME/control and $XDG_RUNTIME_DIR/RUNTIME_FOLDER/NAME/control. */
#define RUNTIME_FOLDER "preforkd"
#define RUNTIME_ROOT   "/run/" RUNTIME_FOLDER
#define RUNTIME_SOCKET "control"

/*
 * The instance's name: the base name of the ini file without ".ini"; "preforkd" when
 * there is no file (NULL) or its path names none. Owned; NULL: no memory.
 */
char *runtime_instance_name(const char *file);

/*
 * The places of the control socket when the setting `control` is not given, best first:
 *   1. RUNTIME_DIRECTORY/control (the first folder, when systemd passed several)
 *   2. /run/preforkd/NAME/control
 *   3. XDG_RUNTIME_DIR/preforkd/NAME/control
 * A folder that is NULL, empty or not absolute is left out. The master takes the first
 * one whose folder it can create and write; a client the first one that exists.
 * name: as in struct settings; -EINVAL when it is empty, "." or "..", or holds a '/'.
 * Returns 0 (*ret is owned: runtime_free_candidates) or -ENOMEM.
 */
int runtime_control_candidates(const char *name, const char *runtime_directory,
    const char *xdg_runtime_dir, struct string_list *ret);
void runtime_free_candidates(struct string_list *list);

/*
 * The value of `control` in section [preforkd] of an ini text, whatever else is wrong
 * with that text: preforkctl must reach a running master after a bad edit.
 * 1: *ret is an owned absolute path (a relative one starts at base_dir); 0: not set;
 * -ENOMEM.
 */
int runtime_find_control(const char *text, size_t len, const char *base_dir, char **ret);

#endif
