/*
 * log_output.h - reads back what was logged.
 */
#ifndef PREFORKD_TEST_LOG_OUTPUT_H
#define PREFORKD_TEST_LOG_OUTPUT_H

#include "base/log.h"

#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

static int ends[2];	/* read end, write end */

static inline void
use_pipe(void)
{
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	log_init(ends[1]);
}

/* What is there to be read now; owned. */
static char *
take_output(int fd)
{
	size_t cap = 1 << 20, len = 0;
	char *text = malloc(cap);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	ck_assert_ptr_nonnull(text);
	while (len < cap - 1 && poll(&p, 1, 0) == 1 && (p.revents & POLLIN)) {
		ssize_t n = read(fd, text + len, cap - 1 - len);

		if (n <= 0)
			break;
		len += (size_t)n;
	}
	text[len] = '\0';
	return text;
}

/* The part of a text line after its time stamp. */
static const char *
after_stamp(const char *line)
{
	int y, mo, d, h, mi, s, ms, n = 0;

	ck_assert_msg(sscanf(line, "%4d-%2d-%2d %2d:%2d:%2d.%3d %n",
	    &y, &mo, &d, &h, &mi, &s, &ms, &n) == 7 && n == 24, "no time stamp: %s", line);
	return line + n;
}

#endif
