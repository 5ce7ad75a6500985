/*
 * options.c - the table of every setting, and finding a row of it.
 *
 * The one place where keys, defaults and ranges are written down. Rows of a group
 * stand together; their order is that of --help, --show-settings and the manual.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/options.h"

#include "model/nearest.h"
#include "model/settings.h"

#include <string.h>

#define OPT(name, member, kind, ...)						\
	{ .key = (name), .type = OPT_##kind,					\
	  .offset = offsetof(struct settings, member),				\
	  .size = sizeof(((struct settings *)0)->member), __VA_ARGS__ }

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
#define TIB (MIB * MIB)

#define SEC UINT64_C(1000)
#define DAY (86400 * SEC)
#define YEAR (366 * DAY)

#define MANY UINT64_C(1000000)
#define LOTS UINT64_C(1000000000000)

static const struct option_choice log_levels[] = {
	{ "error", LOG_LEVEL_ERROR },
	{ "warning", LOG_LEVEL_WARN },
	{ "warn", LOG_LEVEL_WARN },
	{ "notice", LOG_LEVEL_NOTICE },
	{ "info", LOG_LEVEL_INFO },
	{ "debug", LOG_LEVEL_DEBUG },
	{ NULL, 0 }
};

static const struct option_choice log_formats[] = {
	{ "text", LOG_FORMAT_TEXT },
	{ "json", LOG_FORMAT_JSON },
	{ NULL, 0 }
};

static const struct option_choice balances[] = {
	{ "auto", BALANCE_AUTO },
	{ "shared", BALANCE_SHARED },
	{ "per-slot", BALANCE_PER_SLOT },
	{ NULL, 0 }
};

static const struct option_choice preloads[] = {
	{ "auto", PRELOAD_AUTO },
	{ "yes", PRELOAD_YES },
	{ "no", PRELOAD_NO },
	{ NULL, 0 }
};

#define GROUP_RUNS	.group = "What runs", .flags = OPTF_NEW_WORKERS
#define GROUP_WHOM	.group = "As whom", .flags = OPTF_NEW_WORKERS
#define GROUP_SOCKETS	.group = "Sockets"
#define GROUP_POOL	.group = "Pool"
#define GROUP_RECYCLE	.group = "Recycling"
#define GROUP_MEMORY	.group = "Memory"
#define GROUP_LIMIT	.group = "Memory", .def = "0", .min = MIB, .max = 256 * TIB,		\
	.flags = OPTF_OFF | OPTF_FRESH | OPTF_SHARE, .arg = "SIZE|Nx|PERCENT"
#define GROUP_TIME	.group = "Time"
#define GROUP_OPERATE	.group = "Operating"

const struct option options[] = {
	OPT("wsgi", wsgi, STRING, GROUP_RUNS, .arg = "MODULE:OBJECT",
	    .help = "WSGI application, e.g. app:app or app:make()"),
	OPT("asgi", asgi, STRING, GROUP_RUNS, .arg = "MODULE:OBJECT",
	    .help = "ASGI application"),
	OPT("command", command, COMMAND, GROUP_RUNS, .arg = "COMMAND",
	    .help = "any program; {fd} is the listening socket"),
	OPT("worker-class", worker_class, STRING, GROUP_RUNS, .def = "auto", .arg = "CLASS",
	    .help = "server that runs in each worker"),
	OPT("threads", threads, COUNT, GROUP_RUNS, .def = "auto", .min = 1, .max = 4096,
	    .unset_word = "auto", .unset_value = 0, .arg = "N",
	    .help = "threads of each worker"),
	OPT("worker-connections", worker_connections, COUNT, GROUP_RUNS, .def = "auto",
	    .min = 1, .max = MANY, .unset_word = "auto", .unset_value = 0, .arg = "N",
	    .help = "connections of each worker"),
	OPT("keepalive", keepalive_ms, TIME, GROUP_RUNS, .def = "auto", .min = 0, .max = DAY,
	    .unset_word = "auto", .unset_value = KEEPALIVE_UNSET, .arg = "TIME",
	    .help = "how long idle connections stay open"),
	OPT("gunicorn-config", gunicorn_config, PATH, GROUP_RUNS, .arg = "FILE",
	    .help = "gunicorn's Python configuration file"),
	OPT("python", python, STRING, .group = "What runs", .def = "python3",
	    .flags = OPTF_NEW_WORKERS | OPTF_PROGRAM, .arg = "PROGRAM",
	    .help = "interpreter of the workers"),
	OPT("virtualenv", virtualenv, PATH, GROUP_RUNS, .arg = "FOLDER",
	    .help = "virtual environment of the application"),
	OPT("pythonpath", pythonpath, STRING, .group = "What runs",
	    .flags = OPTF_NEW_WORKERS | OPTF_PATH_LIST, .arg = "FOLDERS",
	    .help = "more folders to import from, between ':'"),
	OPT("chdir", chdir, PATH, GROUP_RUNS, .def = ".", .arg = "FOLDER",
	    .help = "working folder of the workers"),
	OPT("ready", ready, READY, GROUP_RUNS, .def = "auto", .min = 0, .max = DAY,
	    .arg = "auto|notify|listen|TIME", .help = "how a command shows that it serves"),
	OPT("preload", preload, CHOICE, GROUP_RUNS, .def = "auto", .choices = preloads,
	    .arg = "auto|yes|no", .help = "import once, and fork workers from that"),
	OPT("warm-up", warm_up, STRING, GROUP_RUNS, .arg = "PATHS|MODULE:FUNCTION",
	    .help = "requests to answer before workers are forked"),
	OPT("before-fork", before_fork, STRING, GROUP_RUNS, .arg = "MODULE:FUNCTION",
	    .help = "called before a worker is forked"),
	OPT("after-fork", after_fork, STRING, GROUP_RUNS, .arg = "MODULE:FUNCTION",
	    .help = "called in each worker before it serves"),

	OPT("user", user, STRING, GROUP_WHOM, .arg = "USER", .help = "user of the workers"),
	OPT("group", group, STRING, GROUP_WHOM, .arg = "GROUP", .help = "group of the workers"),
	OPT("umask", umask, MODE, GROUP_WHOM, .def = "inherit", .min = 0, .max = 0777,
	    .unset_word = "inherit", .unset_value = UMASK_UNSET, .arg = "MODE",
	    .help = "file mode mask of the workers"),
	OPT("limit-nofile", limit_nofile, COUNT, GROUP_WHOM, .def = "inherit", .min = 16,
	    .max = UINT64_C(1) << 30, .unset_word = "inherit", .unset_value = 0, .arg = "N",
	    .help = "open files of each worker (RLIMIT_NOFILE)"),
	OPT("limit-as", limit_as_bytes, SIZE, GROUP_WHOM, .def = "inherit", .min = 16 * MIB,
	    .max = 256 * TIB, .unset_word = "inherit", .unset_value = 0, .arg = "SIZE",
	    .help = "address space of each worker (RLIMIT_AS)"),
	OPT("oom-score-adjust", oom_score_adjust, INT, GROUP_WHOM, .def = "100",
	    .min = (uint64_t)-1000, .max = 1000, .arg = "N",
	    .help = "who the kernel kills first; only ever raised"),

	OPT("listen", listen, LIST, .group = "Sockets", .flags = OPTF_ADDRESS,
	    .def = "127.0.0.1:8000", .arg = "ADDRESS",
	    .help = "HOST:PORT, unix:PATH, systemd, fd:N; repeatable"),
	OPT("backlog", backlog, COUNT, GROUP_SOCKETS, .def = "2048", .min = 1, .max = MANY,
	    .arg = "N", .help = "connections that may wait to be accepted"),
	OPT("socket-mode", socket_mode, MODE, GROUP_SOCKETS, .def = "0666", .min = 0,
	    .max = 0777, .arg = "MODE", .help = "mode of unix: sockets"),
	OPT("socket-user", socket_user, STRING, GROUP_SOCKETS, .arg = "USER",
	    .help = "owner of unix: sockets"),
	OPT("socket-group", socket_group, STRING, GROUP_SOCKETS, .arg = "GROUP",
	    .help = "group of unix: sockets"),

	OPT("balance", balance, CHOICE, GROUP_SOCKETS, .def = "auto", .choices = balances,
	    .arg = "auto|shared|per-slot", .help = "one socket for all workers, or one for each"),

	OPT("workers", workers, COUNT, GROUP_POOL, .def = "auto", .min = 1, .max = 4096,
	    .unset_word = "auto", .unset_value = 0, .arg = "N",
	    .help = "serving workers; $WEB_CONCURRENCY, else CPUs"),

	OPT("max-requests", max_requests, COUNT, .group = "Recycling", .def = "0", .min = 1,
	    .max = LOTS, .flags = OPTF_OFF | OPTF_NEW_WORKERS, .arg = "N",
	    .help = "replace a worker after so many requests"),
	OPT("max-requests-jitter", max_requests_jitter, JITTER, .group = "Recycling",
	    .def = "10%", .min = 0, .max = LOTS, .flags = OPTF_NEW_WORKERS, .arg = "N|PERCENT",
	    .help = "add a random number up to this"),
	OPT("max-worker-lifetime", max_worker_lifetime_ms, TIME, .group = "Recycling",
	    .def = "0", .min = SEC, .max = YEAR, .flags = OPTF_OFF | OPTF_NEW_WORKERS,
	    .arg = "TIME", .help = "replace a worker after so much time"),
	OPT("max-worker-lifetime-jitter", max_worker_lifetime_jitter, JITTER,
	    .group = "Recycling", .def = "10%", .min = 0, .max = YEAR,
	    .flags = OPTF_JITTER_TIME | OPTF_NEW_WORKERS, .arg = "TIME|PERCENT",
	    .help = "add a random time up to this"),
	OPT("min-worker-lifetime", min_worker_lifetime_ms, TIME, GROUP_RECYCLE, .def = "10s",
	    .min = 0, .max = DAY, .arg = "TIME",
	    .help = "no recycling of workers younger than this"),
	OPT("recycle-concurrency", recycle_concurrency, COUNT, GROUP_RECYCLE, .def = "1",
	    .min = 1, .max = 4096, .arg = "N", .help = "successors that start at a time"),
	OPT("recycle-spacing", recycle_spacing_ms, TIME, GROUP_RECYCLE, .def = "0", .min = 0,
	    .max = DAY, .arg = "TIME", .help = "least time from one recycle to the next"),
	OPT("max-draining", max_draining, COUNT, GROUP_RECYCLE, .def = "auto", .min = 1,
	    .max = 4096, .unset_word = "auto", .unset_value = 0, .arg = "N",
	    .help = "old workers that may be finishing at a time"),
	OPT("recycle-dry-run", recycle_dry_run, BOOL, GROUP_RECYCLE, .def = "no", .arg = "BOOL",
	    .help = "only log what would be recycled"),

	OPT("trim-on-rss", trim_on_rss, LIMIT, GROUP_LIMIT, .help = "ask a worker above this to "
	    "give memory back"),
	OPT("reload-on-rss", reload_on_rss, LIMIT, GROUP_LIMIT,
	    .help = "replace a worker above this much memory"),
	OPT("reload-on-uss", reload_on_uss, LIMIT, GROUP_LIMIT,
	    .help = "replace a worker above this much of its own"),
	OPT("reload-on-pss", reload_on_pss, LIMIT, GROUP_LIMIT,
	    .help = "the same, shared pages counted in part"),
	OPT("reload-on-as", reload_on_as, LIMIT, GROUP_LIMIT,
	    .help = "replace a worker above this address space"),
	OPT("reload-on-fds", reload_on_fds, COUNT, .group = "Memory", .def = "0", .min = 16,
	    .max = UINT64_C(1) << 30, .flags = OPTF_OFF, .arg = "N",
	    .help = "replace a worker with more open files"),
	OPT("evil-reload-on-rss", evil_reload_on_rss, LIMIT, GROUP_LIMIT,
	    .help = "kill a worker above this much memory at once"),
	OPT("evil-reload-on-uss", evil_reload_on_uss, LIMIT, GROUP_LIMIT,
	    .help = "kill a worker above this much of its own"),
	OPT("memory-limit", memory_limit, LIMIT, .group = "Memory", .def = "auto",
	    .min = 16 * MIB, .max = 256 * TIB, .unset_word = "auto",
	    .flags = OPTF_OFF | OPTF_SHARE, .arg = "auto|no|SIZE|PERCENT",
	    .help = "memory of all workers together"),
	OPT("memory-high", memory_high, LIMIT, .group = "Memory", .def = "85%",
	    .min = 16 * MIB, .max = 256 * TIB, .arg = "PERCENT|SIZE",
	    .help = "of memory-limit; workers are replaced above it"),
	OPT("memory-samples", memory_samples, COUNT, GROUP_MEMORY, .def = "2", .min = 1,
	    .max = 1000, .arg = "N", .help = "samples above a limit before it counts"),
	OPT("memory-interval", memory_interval_ms, TIME, GROUP_MEMORY, .def = "1s", .min = 100,
	    .max = 3600 * SEC, .arg = "TIME", .help = "how often memory is looked at"),
	OPT("leak-report", leak_report, BOOL, GROUP_MEMORY, .def = "no", .arg = "BOOL",
	    .help = "one worker near a limit says what it keeps"),

	OPT("boot-timeout", boot_timeout_ms, TIME, GROUP_TIME, .def = "60s", .min = 100,
	    .max = DAY, .arg = "TIME", .help = "from start to serving, at most"),
	OPT("boot-attempts", boot_attempts, COUNT, GROUP_TIME, .def = "3", .min = 1,
	    .max = MANY, .arg = "N", .help = "first starts that may fail before giving up"),
	OPT("timeout", timeout_ms, TIME, .group = "Time", .def = "30s", .min = 100,
	    .max = YEAR, .flags = OPTF_OFF | OPTF_NEW_WORKERS, .arg = "TIME",
	    .help = "kill a worker silent for so long"),
	OPT("request-timeout", request_timeout_ms, TIME, .group = "Time", .def = "auto",
	    .min = 100, .max = YEAR, .unset_word = "auto", .unset_value = REQUEST_TIMEOUT_AUTO,
	    .flags = OPTF_OFF, .arg = "TIME",
	    .help = "kill a worker with a request this old"),
	OPT("graceful-timeout", graceful_timeout_ms, TIME, GROUP_TIME, .def = "30s", .min = 0,
	    .max = YEAR, .arg = "TIME", .help = "to finish requests when a worker ends"),
	OPT("drain-idle", drain_idle_ms, TIME, GROUP_TIME, .def = "auto", .min = 0, .max = DAY,
	    .unset_word = "auto", .unset_value = DRAIN_IDLE_AUTO, .flags = OPTF_NEW_WORKERS,
	    .arg = "TIME", .help = "an ending worker keeps idle connections"),
	OPT("stop-delay", stop_delay_ms, TIME, GROUP_TIME, .def = "0", .min = 0, .max = DAY,
	    .arg = "TIME", .help = "serve on after TERM while not ready"),
	OPT("canary-time", canary_time_ms, TIME, GROUP_TIME, .def = "0", .min = 0, .max = DAY,
	    .arg = "TIME", .help = "the first new worker must last this long"),

	OPT("control", control, PATH, .group = "Operating", .flags = OPTF_RESTART,
	    .arg = "PATH", .help = "socket of preforkctl"),
	OPT("control-mode", control_mode, MODE, GROUP_OPERATE, .def = "0600", .min = 0,
	    .max = 0777, .arg = "MODE", .help = "mode of the control socket"),
	OPT("control-group", control_group, STRING, GROUP_OPERATE, .arg = "GROUP",
	    .help = "group of the control socket"),
	OPT("status-listen", status_listen, STRING, .group = "Operating",
	    .flags = OPTF_ADDRESS, .arg = "ADDRESS",
	    .help = "HTTP: /status /metrics /livez /readyz"),
	OPT("pidfile", pidfile, PATH, .group = "Operating", .flags = OPTF_RESTART,
	    .arg = "FILE", .help = "where the master writes its pid"),
	OPT("log-level", log_level, CHOICE, GROUP_OPERATE, .def = "info",
	    .choices = log_levels, .arg = "LEVEL", .help = "error warning notice info debug"),
	OPT("log-format", log_format, CHOICE, GROUP_OPERATE, .def = "text",
	    .choices = log_formats, .arg = "FORMAT", .help = "text or json"),
	OPT("worker-log", worker_log, WORKER_LOG, .group = "Operating", .def = "inherit",
	    .flags = OPTF_NEW_WORKERS, .arg = "inherit|prefix|FILE",
	    .help = "where the workers' output goes"),
	OPT("on-worker-exit", on_worker_exit, COMMAND, GROUP_OPERATE, .arg = "COMMAND",
	    .help = "run after a worker's end, not waited for"),
};

const size_t options_n = ARRAY_LEN(options);

/* Names that operators bring along; "[server]" and "[env]" name the section to use. */
static const struct { const char *theirs, *ours; } foreign_names[] = {
	{ "access-log", "[server]" }, { "accesslog", "[server]" },
	{ "app", "wsgi" }, { "bind", "listen" }, { "certfile", "[server]" },
	{ "chmod-socket", "socket-mode" }, { "chown-socket", "socket-user" },
	{ "config", "gunicorn-config" }, { "env", "[env]" }, { "errorlog", "worker-log" },
	{ "forwarded-allow-ips", "[server]" }, { "gid", "group" },
	{ "harakiri", "request-timeout" }, { "home", "virtualenv" }, { "host", "listen" },
	{ "http", "listen" }, { "http-socket", "listen" }, { "keyfile", "[server]" },
	{ "lazy", "preload" }, { "lazy-apps", "preload" },
	{ "limit-concurrency", "worker-connections" },
	{ "limit-max-requests", "max-requests" }, { "logto", "worker-log" },
	{ "logger-level", "log-level" }, { "module", "wsgi" }, { "pid", "pidfile" },
	{ "plugin", "python" }, { "port", "listen" }, { "preload-app", "preload" },
	{ "processes", "workers" },
	{ "proxy-headers", "[server]" }, { "pyhome", "virtualenv" },
	{ "python-path", "pythonpath" }, { "raw-env", "[env]" },
	{ "root-path", "[server]" }, { "socket", "listen" }, { "stats", "status-listen" },
	{ "timeout-graceful-shutdown", "graceful-timeout" },
	{ "timeout-keep-alive", "keepalive" }, { "uds", "listen" }, { "uid", "user" },
	{ "venv", "virtualenv" }, { "worker-reload-mercy", "graceful-timeout" },
	{ "wsgi-app", "wsgi" }, { "wsgi-file", "wsgi" },
};

const struct option *
option_find(const char *key)
{
	for (size_t i = 0; i < options_n; i++)
		if (strcmp(options[i].key, key) == 0)
			return &options[i];
	return NULL;
}

const char *
option_nearest(const char *key)
{
	struct nearest n = NEAREST_INIT(key);

	for (size_t i = 0; i < ARRAY_LEN(foreign_names); i++) {
		struct nearest theirs = NEAREST_INIT(key);

		nearest_offer(&theirs, foreign_names[i].theirs);
		if (theirs.best && theirs.distance == 0)
			return foreign_names[i].ours;
	}
	for (size_t i = 0; i < options_n; i++)
		nearest_offer(&n, options[i].key);
	return n.best;
}
