/*
 * master.h - the whole service: one event loop, one pool, the operators' interfaces.
 *
 * master_run() is the program: it returns the exit code.
 */
#ifndef PREFORKD_MASTER_H
#define PREFORKD_MASTER_H

#include "base/base.h"
#include "master/control.h"
#include "master/generation.h"
#include "master/helper.h"
#include "master/loader.h"
#include "master/pool.h"
#include "master/reload.h"

#include <ev.h>

#define MASTER_SIGNALS   16
#define MASTER_CALLS_MAX CONTROL_CLIENTS_MAX

/* A call of the control socket that is answered later. */
enum pending_kind { PENDING_NONE, PENDING_RELOAD, PENDING_RECYCLE, PENDING_REPORT };

struct pending {
	enum pending_kind kind;
	control_call_id id;
	bool is_next;		/* RELOAD: belongs to one that has not begun yet */
	unsigned slot;		/* RECYCLE: 0 all; REPORT */
	uint64_t serial;	/* RECYCLE: workers up to this one are to go */
	uint64_t report_id;
	uint64_t until_ms;	/* REPORT */
	bool is_memory;		/* REPORT */
};

struct master {
	struct ev_loop *loop;
	const struct loader *loader;
	enum master_state state;
	bool is_check;			/* --check-app */
	bool stop_asked;
	bool reload_queued;
	int exit_code;
	uint64_t started_ms;

	struct pool pool;
	struct reload reload;
	struct inherited inherited;
	struct control *control;
	struct helper helper;
	char *control_path;
	char *pidfile;

	ev_signal signals[MASTER_SIGNALS];
	size_t n_signals;
	ev_timer tick;			/* STATUS, EXTEND_TIMEOUT */
	ev_timer watchdog;
	uint64_t last_tick_ms;
	uint64_t last_requests;
	double requests_per_s;

	struct pending pending[MASTER_CALLS_MAX];
	uint64_t last_report_id;
	ev_timer report_deadline;
	ev_timer stop_delay;		/* serves on, although it is stopping */
};

/* loader outlives the call; settings are taken. */
int master_run(const struct loader *loader, struct settings *settings, bool is_check);

/* The only function that changes m->state. */
void master_handle(struct master *m, enum master_event event);

/* From reload.c. */
void master_reload_ended(struct master *m, const char *error, const char *words);
void master_settings_changed(struct master *m);
/* To the log at debug, and to those who wait for the reload. */
void master_progress(struct master *m, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* master_calls.c */
extern const struct control_ops master_control_ops;
void master_calls_reload_begins(struct master *m);
void master_calls_reload_ended(struct master *m, const char *error, const char *words);
/* Answers those too that wait for a reload to come. */
void master_calls_stop(struct master *m);
/* A worker became ready or ended; failed: it did not boot, and these are its last words. */
void master_calls_check(struct master *m, bool failed, const char *words);
void master_calls_reported(struct master *m, uint64_t id, const char *text);
void master_calls_gone(struct master *m, const struct worker *w);

/* master_status.c */
json_t *master_status(struct master *m);
void master_tell_status(struct master *m);
uint64_t master_requests(const struct master *m);

#endif
