/*
 * ctl.h - what the files of preforkctl share.
 */
#ifndef PREFORKD_CTL_H
#define PREFORKD_CTL_H

#include "base/base.h"

/* Exit codes; part of the interface. */
enum ctl_exit {
	CTL_DONE = 0,
	CTL_FAILED = 1,		/* refused, or tried and failed */
	CTL_USAGE = 2,
	CTL_UNREACHABLE = 3,
	CTL_TIMEOUT = 4,
};

struct ctl_options {
	const char *file;	/* --file, NULL: not given */
	const char *socket;	/* --socket */
	bool as_json;
	bool no_wait;
	bool quick;
	bool memory;		/* --memory, of report */
	unsigned seconds;	/* --seconds, 0: not given */
	bool has_timeout;
	uint64_t timeout_ms;	/* with has_timeout; 0: none */
	const char *series;	/* --series: of memory, a file instead of a master */
	const char *record;	/* --record: of memory */
	uint64_t reload_on_rss;	/* --reload-on-rss: with --series, bytes; 0: not given */
};

/* One line on stderr, "preforkctl: ...", made safe for a terminal. */
void ctl_complain(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* Text of others on stdout or stderr, made safe, with a newline at its end. */
void ctl_show(int fd, const char *indent, const char *text);

#endif
