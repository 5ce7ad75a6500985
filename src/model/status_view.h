/*
 * status_view.h - a status object taken apart again. Pure.
 *
 * Both the table and the metrics are made from the JSON that the master sent, which may
 * be an older or newer one than ours: a member that is missing or has another type reads
 * as "not known". Strings and objects are borrowed from the JSON.
 */
#ifndef PREFORKD_STATUS_VIEW_H
#define PREFORKD_STATUS_VIEW_H

#include "base/base.h"

#include <jansson.h>

/* Numbers that are not known are 0, times that are not known negative. */
struct view_worker {
	uint64_t slot;
	uint64_t pid;
	uint64_t serial;
	uint64_t generation;
	uint64_t requests;
	uint64_t in_flight;
	uint64_t max_requests;
	uint64_t rss_bytes;
	uint64_t uss_bytes;
	uint64_t pss_bytes;
	uint64_t as_bytes;
	uint64_t peak_rss_bytes;
	uint64_t swap_bytes;
	bool swap_known;
	uint64_t fds;
	uint64_t trims;
	uint64_t trimmed_bytes;
	double age_s;
	double oldest_request_s;
	double max_lifetime_s;
	double next_attempt_s;
	bool is_successor;
	bool agent_lost;
	bool traces;
	const char *state;	/* never NULL */
	const char *reason;	/* NULL: none */
	const char *last_reason;
	const char *status;
};

struct view_socket {
	const char *address;	/* never NULL */
	uint64_t slot;		/* 0: of all */
	uint64_t queue;
	uint64_t backlog;
};

struct status_view {
	const char *name;	/* these four are never NULL */
	const char *app;
	const char *version;
	const char *state;
	uint64_t pid;
	uint64_t generation;
	uint64_t target_workers;
	uint64_t requests_total;
	uint64_t crashes;
	uint64_t oom_kills;
	uint64_t boot_failures;
	double uptime_s;
	json_t *molds;		/* these seven may be NULL, or of any type */
	json_t *preload;
	json_t *memory;
	json_t *listen;
	json_t *recycles;
	json_t *last_reload;
	json_t *governor;
	struct view_worker *workers;	/* owned, by slot, then by serial */
	size_t n_workers;
	struct view_socket *sockets;	/* owned, those whose queue is known; by address, then
					   by slot, no pair twice */
	size_t n_sockets;
	uint64_t n_ready;
	uint64_t rss_bytes;	/* of all workers */
};

/* 0, -EINVAL when it is no status object, -ENOMEM. */
int status_view_read(const json_t *status, struct status_view *ret);
void status_view_done(struct status_view *v);

/* Members of an object, of whatever type the object is. */
uint64_t view_count(const json_t *object, const char *key);	/* 0: not known */
double view_seconds(const json_t *object, const char *key);	/* < 0: not known */
const char *view_text(const json_t *object, const char *key);	/* NULL: not known */
bool view_flag(const json_t *object, const char *key);

/* Seconds to ms for people; what is not known is 0. */
uint64_t view_ms(double seconds);

#endif
