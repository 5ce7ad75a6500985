/*
 * log.h - one line per event, to a sink.
 *
 * Levels are syslog's. Messages are lower case, name who, what and why, and say
 * what happens next; no final stop. errno survives every call and %m works.
 * A line that cannot be written at once (a full pipe, a stalled terminal) is
 * dropped and counted, never waited for; the count is logged when there is room
 * again. Layers base, model and system log nothing above debug.
 */
#ifndef PREFORKD_LOG_H
#define PREFORKD_LOG_H

#include "base/base.h"

#include <stdarg.h>

enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARN = 4,
	LOG_LEVEL_NOTICE = 5,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
};

enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* What a line is about; zero or NULL members are left out. Shown as a prefix in
 * text, as members in JSON, as fields in the journal. */
struct log_about {
	unsigned slot;
	pid_t pid;
	uint64_t serial;
	unsigned generation;
	const char *event;	/* state-change, recycle, exit, reload, ... */
	const char *reason;	/* see model/lifecycle.h */
};

/* Receives one finished message without newline. */
typedef void (*log_sink_fn)(void *ctx, enum log_level level,
    const struct log_about *about, const char *message);

/* Lines go to fd, which is borrowed for the life of the process. Until it is called they go
 * to standard error. A pipe, terminal or device is reopened so that making it non-blocking
 * touches nobody else's copy; SIGPIPE must be ignored by the program. */
void log_init(int fd);
/* True when fd is a stream to the journal (JOURNAL_STREAM names its device and inode). */
bool log_is_journal(int fd);
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
void log_set_format(enum log_format format);
/* NULL restores the built-in sink. */
void log_set_sink(log_sink_fn sink, void *ctx);

/* "slot 2 pid 812 gen 3: ", or "" when about is NULL or empty; for sinks. Returns the length,
 * dst is always NUL-terminated. */
size_t log_format_about(const struct log_about *about, char *dst, size_t size);

/* about may be NULL. */
void log_write(enum log_level level, const struct log_about *about,
    const char *fmt, ...) PRINTF_LIKE(3, 4);
void log_vwrite(enum log_level level, const struct log_about *about,
    const char *fmt, va_list ap) PRINTF_LIKE(3, 0);

#define log_error(...)  log_write(LOG_LEVEL_ERROR, NULL, __VA_ARGS__)
#define log_warn(...)   log_write(LOG_LEVEL_WARN, NULL, __VA_ARGS__)
#define log_notice(...) log_write(LOG_LEVEL_NOTICE, NULL, __VA_ARGS__)
#define log_info(...)   log_write(LOG_LEVEL_INFO, NULL, __VA_ARGS__)
#define log_debug(...)  log_write(LOG_LEVEL_DEBUG, NULL, __VA_ARGS__)

/* Writes bytes that are already lines (a worker's output) without blocking;
 * what does not fit is dropped and counted. */
void log_raw(const char *data, size_t len);

/* At most `burst` lines per `interval_ms`; the caller's clock. */
struct log_limit {
	unsigned burst;
	uint64_t interval_ms;
	uint64_t window_start_ms;
	unsigned used;
	unsigned suppressed;	/* since the last line that was let through */
};

/* True when a line may be written now; *ret_suppressed (may be NULL) is how many
 * were held back before it. */
bool log_limit_pass(struct log_limit *l, uint64_t now_ms, unsigned *ret_suppressed);

#endif
