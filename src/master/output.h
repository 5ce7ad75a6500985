/*
 * output.h - a worker's stdout or stderr while it is a pipe of the master.
 *
 * Lines are passed on to the log's descriptor as they are, or with a prefix; the last
 * ones are remembered, so that a failed boot can be quoted. One buffer is read per turn
 * of the loop; a line longer than OUTPUT_LINE_MAX is passed on in pieces.
 */
#ifndef PREFORKD_OUTPUT_H
#define PREFORKD_OUTPUT_H

#include "base/base.h"

#include <ev.h>

#define OUTPUT_LINE_MAX 2048
#define OUTPUT_TAIL_MAX 3072

struct output {
	struct ev_loop *loop;
	ev_io io;
	int fd;				/* read end, owned; -1: no pipe */
	bool eof;
	size_t len;			/* of the unfinished line */
	size_t tail_len;
	char prefix[48];		/* "": none */
	char line[OUTPUT_LINE_MAX];
	char tail[OUTPUT_TAIL_MAX];	/* not NUL-terminated */
};

/* A pipe: *ret_write is for the child. NULL with errno set on failure. */
struct output *output_new(struct ev_loop *loop, int *ret_write);
/* The prefix is written before each line; to be set once the pid is known. */
void output_set_prefix(struct output *o, const char *prefix);
/* Reads what is in the pipe now (bounded), for example when the writer has died. True
 * when nobody holds the other end any more. */
bool output_drain(struct output *o);
/* The last words of a process that failed: what it said of itself (may be NULL), else the end
 * of its stderr (o may be NULL), without the last newline. Owned; "" for nothing, NULL: out
 * of memory. */
char *output_last_words(const struct output *o, const char *said);
/* Passes an unfinished line on, closes the pipe and frees. NULL is fine. */
void output_free(struct output *o);

#endif
