/*
 * loss_plan.h - what the loss client is asked to do, from its command line.
 */
#ifndef PREFORKD_LOSS_PLAN_H
#define PREFORKD_LOSS_PLAN_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CONVERSATIONS_MAX 2048
/* Of a body of a request or of an answer. */
#define BODY_MAX (1 << 20)

enum kind { KIND_KEEP_ALIVE, KIND_CLOSE, KIND_SLOW, KINDS };

extern const char *const kind_names[KINDS];

/* Both ends included. */
struct range {
	uint64_t low, high;
};

/* Times in microseconds, shares in hundredths of a percent. */
struct plan {
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_un un;
	} to;
	socklen_t to_len;
	const char *to_text;
	uint64_t conversations[KINDS];
	struct range gap, long_gap, work, pause;
	uint64_t long_share, work_share;
	struct range size, slow_size;
	uint64_t drain_idle, run, timeout, late, seed;
	bool json;
};

/* Wrong usage ends the program with 2. */
void plan_parse(struct plan *plan, int argc, char **argv);

#endif
