/*
 * status.h - the snapshot that status, metrics and the HTTP page are made from. Pure.
 *
 * The master fills struct status and turns it into JSON once; preforkctl and
 * preforkd-http make tables and metrics from that JSON, so the master knows
 * neither. Names in the JSON are fixed: add, don't rename.
 */
#ifndef PREFORKD_STATUS_H
#define PREFORKD_STATUS_H

#include "base/base.h"
#include "model/lifecycle.h"
#include "model/status_budget.h"

#include <jansson.h>

struct buf;

struct status_worker {
	unsigned slot;
	pid_t pid;			/* 0: no process */
	unsigned worker_id;
	uint64_t serial;
	unsigned generation;
	enum worker_state state;
	bool is_successor;
	bool agent_lost;		/* channel closed by a live worker */
	uint64_t requests;
	uint64_t in_flight;
	uint64_t oldest_request_ms;	/* age of the oldest, 0: none */
	uint64_t rss_bytes;		/* with descendants, 0: not read yet */
	bool footprint_known;		/* the next three */
	uint64_t uss_bytes;		/* its own */
	uint64_t pss_bytes;		/* the same with its share of what others map as well */
	uint64_t swap_bytes;
	unsigned trims;			/* that were done */
	uint64_t trimmed_bytes;		/* given back by all of them */
	bool trim_known;		/* the next three, of the last one */
	uint64_t trim_ago_ms;
	uint64_t trim_bytes;		/* what it gave back */
	uint64_t trim_took_us;
	const char *trim_refusal;	/* why the last one was not done, or NULL */
	bool traces;			/* leak-report, or for a report on request */
	uint64_t traced_bytes;		/* what that costs */
	uint64_t as_bytes;
	uint64_t peak_rss_bytes;	/* the most it has had, 0: not read yet */
	uint64_t fds;
	bool fds_unavailable;
	uint64_t age_ms;		/* since spawn */
	uint64_t ready_ms;		/* time it took to become ready, 0: not ready */
	uint64_t max_requests;		/* with its jitter, 0: off */
	uint64_t max_lifetime_ms;
	uint64_t next_attempt_ms;	/* back-off: until the next start */
	enum reason last_reason;	/* why the slot's previous worker ended */
	enum reason reason;		/* why this one is being ended or will be */
	const char *server;		/* "uvicorn 0.17.6", NULL: unknown */
	const char *status;		/* STATUS= of the worker, or NULL */
};

/* A process that forks workers. */
struct status_mold {
	pid_t pid;
	unsigned generation;
	const char *state;		/* "starting", "ready", "ending" */
	uint64_t age_ms;
	uint64_t forked;		/* workers */
	uint64_t rss_bytes;		/* 0: not read yet */
	bool footprint_known;		/* the next three */
	uint64_t uss_bytes;
	uint64_t pss_bytes;
	uint64_t swap_bytes;
};

/* How the workers of the current generation start. */
struct status_preload {
	const char *how;		/* "fork", "exec", or "undecided": its mold imports */
	const char *text;		/* why, in words; NULL: nothing was said */
	unsigned failures;		/* molds that failed in a row */
	uint64_t next_attempt_ms;	/* until the next one, 0: now, or none is wanted */
};

/* A listening socket. The kernel tells the queue of TCP sockets only. */
struct status_socket {
	const char *address;
	unsigned slot;			/* the only one that accepts from it, 0: all do */
	bool known;
	unsigned queue;			/* connections that wait to be accepted */
	unsigned backlog;		/* as many may */
};

/* The memory of our control group, or of the ancestor whose limit is the lowest. */
struct status_cgroup {
	bool known;			/* we are in one */
	const char *dir;
	const char *limit_file;		/* NULL: no limit */
	uint64_t limit_bytes;
	uint64_t used_bytes;
	uint64_t current_bytes;
	bool split_known;		/* the next four, and sock_bytes if that is known */
	uint64_t anon_bytes;
	uint64_t file_bytes;
	uint64_t kernel_bytes;
	uint64_t other_bytes;
	bool sock_known;
	bool sock_is_in_current;	/* not in cgroup v1 */
	uint64_t sock_bytes;
	uint64_t swap_bytes;
	const char *rise;		/* which part rose, as memrise_name(); NULL: none */
	const char *rise_text;
	uint64_t rise_from_bytes;
	uint64_t rise_bytes;
	uint64_t rise_ms;		/* since it had rise_from_bytes */
};

struct status_reload {
	bool any;			/* one was tried */
	bool running;
	bool ok;
	unsigned generation;
	uint64_t ago_ms;		/* since it ended */
	uint64_t took_ms;
	const char *error;		/* NULL when ok */
};

#define STATUS_FUTILE_MAX 10

struct status_governor {
	unsigned starting;		/* successors that boot now */
	unsigned queued;		/* workers waiting for their replacement */
	bool code_bad;
	uint64_t next_probe_ms;
	bool roll_stalled;
	bool dry_run;
	uint64_t dry_run_would;		/* recycles that dry run held back */
	const char *waiting;		/* why the queue waits, NULL: it does not */
	struct status_futile futile[STATUS_FUTILE_MAX];
	size_t n_futile;
	uint64_t fresh_rss_bytes;
};

struct status {
	const char *version;
	const char *name;
	const char *app;
	pid_t pid;
	enum master_state state;
	unsigned generation;
	uint64_t uptime_ms;
	const char *const *listen;	/* canonical addresses */
	size_t n_listen;
	const struct status_socket *sockets;	/* of these addresses */
	size_t n_sockets;
	uint64_t target_workers;
	const struct status_worker *workers;
	size_t n_workers;
	const struct status_mold *molds;
	size_t n_molds;
	struct status_preload preload;
	struct status_cgroup cgroup;
	struct status_budget budget;
	struct status_trims trims;
	const char *uss_unavailable;	/* why it is not known of some, NULL: it can be */
	uint64_t recycles[REASON_N];
	uint64_t crashes;
	uint64_t oom_kills;
	uint64_t boot_failures;
	uint64_t requests_total;	/* of living and past workers */
	struct status_reload last_reload;
	struct status_governor governor;
};

/* A new reference, NULL when memory ran out. */
json_t *status_to_json(const struct status *s);

/* A table for a terminal of `width` columns (>= 80). -EINVAL when status is not one,
 * -ENOMEM. */
int status_print_table(const json_t *status, unsigned width, struct buf *out);

/* OpenMetrics text, ending in "# EOF"; or the older text format 0.0.4, where the type of
 * a counter is declared under its name with _total. Label slot, never pid. -EINVAL when
 * status is not one, -ENOMEM. */
enum metrics_format { METRICS_OPENMETRICS, METRICS_TEXT };
int status_print_metrics(const json_t *status, enum metrics_format format, struct buf *out);

/* One line for systemd: "4 workers, 12 requests/s, 312M". */
void status_print_line(const struct status *s, double requests_per_s, struct buf *out);

#endif
