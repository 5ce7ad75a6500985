/*
 * message.h - the language of a worker's channel. Pure.
 *
 * One datagram holds lines KEY=VALUE in the grammar of sd_notify(3). The same
 * parser reads what arrives on a command's own NOTIFY_SOCKET. Values of ERROR,
 * STATUS, SERVER, TEXT and UNTRIMMED carry newlines as the two characters \n and a backslash
 * as \\. Unknown keys are ignored; a line without '=' or a number that is none
 * makes the whole datagram bad. See preforkd-worker(7).
 */
#ifndef PREFORKD_MESSAGE_H
#define PREFORKD_MESSAGE_H

#include "base/base.h"

struct buf;

#define MESSAGE_MAX 4096	/* bytes of one datagram */
#define MESSAGE_SIZE_MAX (UINT64_C(1) << 50)	/* larger sizes of memory are no sizes */

enum message_key {
	MK_READY	= 1 << 0,
	MK_REQUESTS	= 1 << 1,
	MK_BUSY	= 1 << 2,
	MK_OLDEST	= 1 << 3,
	MK_WATCHDOG	= 1 << 4,
	MK_STOPPING	= 1 << 5,
	MK_ERROR	= 1 << 6,	/* text */
	MK_STATUS	= 1 << 7,	/* text */
	MK_REPORT	= 1 << 8,	/* number of the request it answers */
	MK_MORE	= 1 << 9,	/* another part of the report follows */
	MK_TEXT	= 1 << 10,	/* text of a report */
	MK_SERVER	= 1 << 11,	/* "uvicorn 0.17.6" */
	MK_SYNC	= 1 << 12,	/* no heartbeat within a request */
	MK_STACKS	= 1 << 13,	/* SIGABRT prints Python's stacks */
	MK_MAINPID	= 1 << 14,	/* seen and refused: identity is the socket */
	MK_CONNECTIONS	= 1 << 20,	/* open ones */
	MK_BORN	= 1 << 21,	/* first word of a forked worker: the kernel adds its pid */
	MK_FORKS	= 1 << 22,	/* of a mold with READY: it will fork workers */
	MK_TRIMMED	= 1 << 23,	/* three sizes: before, after gc, after malloc_trim */
	MK_UNTRIMMED	= 1 << 24,	/* text: why not */
	MK_TOOK		= 1 << 25,	/* TOOK_USEC: how long requests waited for the trim */
	MK_TRACED	= 1 << 26,	/* what tracing costs at the moment */
	/* to the worker */
	MK_LIMITS	= 1 << 15,	/* LIMITS=requests */
	MK_DRAIN	= 1 << 16,
	MK_GRACE	= 1 << 17,	/* GRACE_USEC */
	MK_REOPEN	= 1 << 18,
	MK_CLOSE	= 1 << 19,	/* every response closes its connection */
};

struct message {
	unsigned has;		/* of enum message_key */
	uint64_t requests;
	uint64_t busy;
	uint64_t connections;
	uint64_t oldest_usec;	/* CLOCK_MONOTONIC, 0: none */
	uint64_t report;
	uint64_t limits;
	uint64_t grace_usec;
	uint64_t trimmed[3];	/* bytes, each at most MESSAGE_SIZE_MAX */
	uint64_t took_usec;
	uint64_t traced;	/* bytes */
	/* into the parsed datagram, not NUL-terminated, still escaped */
	const char *text;	/* ERROR, or TEXT */
	size_t text_len;
	const char *status;	/* STATUS, or SERVER */
	size_t status_len;
	const char *server;
	size_t server_len;
	const char *untrimmed;
	size_t untrimmed_len;
};

/* Returns 0, or -EBADMSG, -EMSGSIZE. data stays the caller's and must outlive *ret. */
int message_parse(const char *data, size_t len, struct message *ret);

/* Appends the unescaped text with every control character but newline and tab
 * replaced by '?', so that a worker cannot forge log lines. */
void message_text(const char *text, size_t len, struct buf *out);

/* The same as a string of at most max bytes, cut there. Owned; NULL: out of memory. */
char *message_clean(const char *text, size_t len, size_t max);

/* Appends one KEY=VALUE line. */
void message_put_number(struct buf *out, const char *key, uint64_t value);
void message_put_text(struct buf *out, const char *key, const char *text);

#endif
