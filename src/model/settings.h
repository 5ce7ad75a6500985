/*
 * settings.h - what the user asked for, checked and complete.
 *
 * Pure: text and environment values come in, a struct settings or a list of
 * every mistake comes out. Reading files, asking the kernel for the number of
 * CPUs and looking up user names are the caller's (src/master/main.c).
 *
 * struct settings is plain data and never changes once loaded; a reload makes a
 * new one. Times are milliseconds, sizes are bytes, 0 means off unless the field
 * says otherwise. Strings are owned; NULL means not set. Paths are absolute
 * (relative ones are resolved against the folder of the ini file, or the current
 * folder without one).
 */
#ifndef PREFORKD_SETTINGS_H
#define PREFORKD_SETTINGS_H

#include "base/base.h"
#include "base/err.h"
#include "base/log.h"
#include "model/limit.h"

struct buf;

enum ready_how { READY_AUTO, READY_NOTIFY, READY_LISTEN, READY_DELAY };
enum worker_log { WORKER_LOG_INHERIT, WORKER_LOG_PREFIX, WORKER_LOG_FILE };

struct ready_setting {
	enum ready_how how;
	uint64_t delay_ms;	/* with READY_DELAY */
};

struct worker_log_setting {
	enum worker_log how;
	char *path;		/* with WORKER_LOG_FILE, absolute */
};

/* Jitter: an absolute amount or a percentage of the limit that it belongs to. */
struct jitter_setting {
	bool is_percent;
	uint64_t value;		/* requests or milliseconds; or percent, 0..100 */
};

/* Several values of one key, in the order given. */
struct string_list {
	size_t n;
	char **v;
};

/* Section [server] and [env]. Every value is a string as written. */
struct pair {
	char *key;
	char *value;
	unsigned line;		/* in the ini, 0: command line */
};
struct pair_list {
	size_t n;
	struct pair *v;
};

enum setting_origin {
	ORIGIN_DEFAULT, ORIGIN_ENVIRONMENT, ORIGIN_FILE, ORIGIN_COMMAND_LINE
};

/* Of the listening sockets: one for all workers, or one for each slot. */
enum balance {
	BALANCE_AUTO, BALANCE_SHARED, BALANCE_PER_SLOT
};

/* Whether workers are forked from a process that has imported the application. */
enum preload {
	PRELOAD_AUTO, PRELOAD_YES, PRELOAD_NO
};

struct settings {
	/* what runs; exactly one of wsgi, asgi, command is set */
	char *wsgi;
	char *asgi;
	char *command;
	char *worker_class;		/* "auto" */
	uint64_t threads;		/* 0: the class's own default (4) */
	uint64_t worker_connections;	/* 0: the server's default */
	uint64_t keepalive_ms;		/* UINT64_MAX: the server's default */
	char *gunicorn_config;		/* path */
	char *python;			/* "python3" */
	char *virtualenv;		/* path of the folder */
	char *pythonpath;		/* ':'-separated absolute folders */
	char *chdir;			/* absolute folder; default: the ini's folder */
	struct ready_setting ready;
	uint64_t preload;		/* enum preload */
	char *warm_up;			/* request paths or module:function, between blanks */
	char *before_fork;		/* module:function */
	char *after_fork;		/* module:function */

	/* as whom */
	char *user;
	char *group;
	uint64_t umask;			/* UMASK_UNSET: inherited */
	uint64_t limit_nofile;		/* 0: inherited */
	uint64_t limit_as_bytes;	/* 0: inherited */
	int64_t oom_score_adjust;	/* -1000..1000 */

	/* sockets */
	struct string_list listen;	/* at least one */
	uint64_t backlog;
	uint64_t socket_mode;		/* for unix: sockets, default 0666 */
	char *socket_user;
	char *socket_group;
	uint64_t balance;		/* enum balance */

	/* pool */
	uint64_t workers;

	/* recycling */
	uint64_t max_requests;
	struct jitter_setting max_requests_jitter;
	uint64_t max_worker_lifetime_ms;
	struct jitter_setting max_worker_lifetime_jitter;
	uint64_t min_worker_lifetime_ms;
	uint64_t recycle_concurrency;
	uint64_t recycle_spacing_ms;
	uint64_t max_draining;		/* 0: twice workers, at least 8 */
	bool recycle_dry_run;

	/* memory and descriptors */
	struct limit trim_on_rss;
	struct limit reload_on_rss;
	struct limit reload_on_uss;
	struct limit reload_on_pss;
	struct limit reload_on_as;
	uint64_t reload_on_fds;
	struct limit evil_reload_on_rss;
	struct limit evil_reload_on_uss;
	struct limit memory_limit;	/* LIMIT_AUTO: the cgroup's */
	struct limit memory_high;	/* a percentage is of memory_limit */
	uint64_t memory_samples;
	uint64_t memory_interval_ms;
	bool leak_report;

	/* time */
	uint64_t boot_timeout_ms;
	uint64_t boot_attempts;
	uint64_t timeout_ms;
	uint64_t request_timeout_ms;	/* REQUEST_TIMEOUT_AUTO: sync workers use timeout */
	uint64_t graceful_timeout_ms;
	uint64_t drain_idle_ms;		/* DRAIN_IDLE_AUTO: the server's keep-alive time */
	uint64_t stop_delay_ms;
	uint64_t canary_time_ms;

	/* operating */
	char *control;			/* path of the socket, NULL: the default place */
	uint64_t control_mode;		/* 0600 */
	char *control_group;
	char *status_listen;		/* address as in listen, TCP or unix */
	char *pidfile;
	uint64_t log_level;		/* enum log_level */
	uint64_t log_format;		/* enum log_format */
	struct worker_log_setting worker_log;
	char *on_worker_exit;		/* a command line */

	struct pair_list server;	/* [server] */
	struct pair_list env;		/* [env] */

	/* where this came from */
	char *name;			/* instance: the ini's base name, else "preforkd" */
	char *app_name;			/* see settings_app_name */
	char *file;			/* absolute path of the ini, NULL without one */
	unsigned char *origin;		/* enum setting_origin per row of options[] */
};

#define UMASK_UNSET          UINT64_MAX
#define KEEPALIVE_UNSET      UINT64_MAX
#define REQUEST_TIMEOUT_AUTO UINT64_MAX
#define DRAIN_IDLE_AUTO      UINT64_MAX

struct settings_override {	/* one --key value of the command line */
	const char *key;
	const char *value;
};

struct settings_source {
	const char *file;	/* for messages, NULL: no ini file */
	const char *text;	/* its content, len bytes */
	size_t len;
	const char *base_dir;	/* absolute folder that relative paths start from */
	const struct settings_override *overrides;
	size_t n_overrides;
	const char *web_concurrency;	/* values of the environment, or NULL */
	const char *port;
	uint64_t default_workers;	/* CPUs within the cgroup's quota, >= 1 */
	uint64_t cgroup_limit_bytes;	/* of memory; 0: there is none */
};

/*
 * Returns 0 and *ret (owned; settings_free), or -EINVAL with at least one text in
 * errs, or -ENOMEM. Texts are "file:line: message", "--key: message" or
 * "$WEB_CONCURRENCY: message".
 */
int settings_load(const struct settings_source *src, struct settings **ret,
    struct errs *errs);

void settings_free(struct settings *s);	/* NULL is fine */
static inline void
settings_freep(struct settings **s)
{
	settings_free(*s);
}

/* Appends an ini that settings_load reads back to equal settings. */
int settings_print(const struct settings *s, struct buf *out);

/*
 * Names of keys marked "restart" whose values differ, comma-separated, into out;
 * 0 of them: nothing appended. The reload keeps the old value of these.
 */
void settings_restart_diff(const struct settings *old, const struct settings *new_,
    struct buf *out);

/* Makes the restart keys of new_ equal to old's. Returns 0 or -ENOMEM. */
int settings_keep_restart_keys(const struct settings *old, struct settings *new_);

/* "wsgi app:app", "asgi ...", "command ..." for logs and process names. */
const char *settings_app_name(const struct settings *s);

#endif
