/*
 * find.h - which master preforkctl talks to.
 *
 * From --socket, from --file, or the only one that is running. Says on stderr what was
 * tried when it finds none or too many.
 */
#ifndef PREFORKD_FIND_H
#define PREFORKD_FIND_H

#include "ctl/client.h"
#include "ctl/ctl.h"

/* CTL_DONE: *c is connected and *ret_path (owned) is where; CTL_USAGE: the ini file cannot
 * be read, or several masters run; CTL_UNREACHABLE; CTL_TIMEOUT. */
enum ctl_exit find_master(const struct ctl_options *o, uint64_t deadline_ms,
    struct client *c, char **ret_path);

#endif
