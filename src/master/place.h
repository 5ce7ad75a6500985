/*
 * place.h - where a running instance is found: control socket and pidfile.
 */
#ifndef PREFORKD_PLACE_H
#define PREFORKD_PLACE_H

#include "base/err.h"

struct master;

/* Opens the control socket. Nowhere writable: a warning, and no control socket. */
void place_control(struct master *m);
/* Writes the pidfile, by way of a temporary one. */
int place_pidfile(struct master *m, struct err *e);
/* Removes what is still ours. */
void place_remove(struct master *m);

#endif
