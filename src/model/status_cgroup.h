/*
 * status_cgroup.h - the memory of the control group in the status: as JSON, and for people. Pure.
 */
#ifndef PREFORKD_STATUS_CGROUP_H
#define PREFORKD_STATUS_CGROUP_H

#include "base/base.h"

#include <jansson.h>

struct buf;
struct status_cgroup;

/* The member "cgroup" of "memory": null where we are in none. A new reference, NULL when memory ran
 * out. */
json_t *status_cgroup_to_json(const struct status_cgroup *c);

/* Lines of the table, from what the function above has made; nothing for anything else. */
void status_put_cgroup(const json_t *cgroup, size_t width, struct buf *out);

#endif
