/*
 * pages.h - what preforkd-http answers to which path.
 *
 * Each page asks the master when it is asked for: nothing is kept, so that a master that
 * stops is seen at once. Knows nothing of sockets and libmicrohttpd.
 */
#ifndef PREFORKD_PAGES_H
#define PREFORKD_PAGES_H

#include "http/upstream.h"

struct page {
	unsigned code;			/* HTTP status */
	const char *type;		/* Content-Type */
	struct buf body;		/* owned */
	const char *allow;		/* methods, with 405; else NULL */
};

/* accept: the Accept header, or NULL. Always fills *ret (page_free). */
void page_make(struct upstream *u, const char *method, const char *path, const char *accept,
    struct page *ret);
void page_free(struct page *p);

#endif
