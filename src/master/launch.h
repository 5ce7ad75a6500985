/*
 * launch.h - turn a generation and a slot into a running process.
 *
 * Builds argv, environment, descriptors and limits of one worker and spawns it. What a
 * Python worker is told is in PREFORKD_SETTINGS, one JSON object (preforkd-worker(7)).
 */
#ifndef PREFORKD_LAUNCH_H
#define PREFORKD_LAUNCH_H

#include "base/base.h"
#include "base/err.h"
#include "master/generation.h"

struct launch {
	const struct generation *gen;
	bool is_mold;			/* no sockets; slot, lane, ids and limit mean nothing */
	unsigned slot;
	unsigned lane;			/* of the listening sockets */
	unsigned worker_id;
	uint64_t serial;
	uint64_t limit_requests;	/* drawn, 0: none */
	int channel_fd;			/* the child's end */
	int stdout_fd;			/* -1: the master's own */
	int stderr_fd;			/* likewise */
	int real_stderr_fd;		/* what stderr becomes at READY; -1: stderr_fd stays */
	const char *notify_socket;	/* value of NOTIFY_SOCKET, or NULL */
};

/* A worker, or a mold. The pid, or negative errno with e. Descriptors stay the caller's. */
pid_t launch_worker(const struct launch *l, struct err *e);

/* Runs on-worker-exit: a command of its own that nobody waits for. */
struct launch_hook {
	const struct generation *gen;
	unsigned slot;
	unsigned worker_id;
	pid_t pid;
	const char *reason;
	const char *status;		/* "exit status 1" */
};
pid_t launch_hook(const struct launch_hook *h, struct err *e);

/* Starts preforkd-http with its control stream and listening sockets. */
pid_t launch_http(const struct generation *g, int control_fd, const int *listen_fds,
    size_t n, struct err *e);

/* The environment of this process is read once, before anything changes it. */
void launch_init(void);

#endif
