/*
 * load_head.h - what the clients want to know of the head of a response. Pure.
 */
#ifndef PREFORKD_LOAD_HEAD_H
#define PREFORKD_LOAD_HEAD_H

#include <stdbool.h>
#include <stdint.h>

struct head {
	uint64_t status, length;
	bool closes;
};

/* head: from the status line to the last header, NUL-terminated in the place of the empty
 * line. -EBADMSG for what is not HTTP/1 or gives no Content-Length. */
int head_parse(const char *head, struct head *ret);

#endif
