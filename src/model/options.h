/*
 * options.h - the table of every setting: name, type, default, range, help.
 *
 * The command line, the ini reader, --show-settings, --help, the manual's check
 * and the sample configuration all come from this one table. Defaults are text
 * and go through the same parser as what a user writes.
 */
#ifndef PREFORKD_OPTIONS_H
#define PREFORKD_OPTIONS_H

#include "base/base.h"

struct buf;

enum option_type {
	OPT_STRING,	/* char * */
	OPT_PATH,	/* char *, made absolute */
	OPT_COMMAND,	/* char *, split like a shell's words when it is run */
	OPT_COUNT,	/* uint64_t */
	OPT_SIZE,	/* uint64_t bytes; a bare number is refused */
	OPT_LIMIT,	/* struct limit: a size, and by flag a share; see model/limit.h */
	OPT_TIME,	/* uint64_t ms; a bare number is seconds */
	OPT_MODE,	/* uint64_t, octal */
	OPT_INT,	/* int64_t */
	OPT_BOOL,	/* bool: yes/no, true/false, on/off, 1/0 */
	OPT_CHOICE,	/* uint64_t, a word of .choices */
	OPT_JITTER,	/* struct jitter_setting; unit by OPTF_JITTER_TIME */
	OPT_LIST,	/* struct string_list: key may be repeated, or comma-separated */
	OPT_READY,	/* struct ready_setting */
	OPT_WORKER_LOG,	/* struct worker_log_setting */
	OPT_N_TYPES
};

enum {
	OPTF_RESTART = 1 << 0,		/* a reload keeps the old value */
	OPTF_NEW_WORKERS = 1 << 1,	/* takes effect in new workers only */
	OPTF_JITTER_TIME = 1 << 2,
	OPTF_ADDRESS = 1 << 3,		/* checked with address_parse, kept in canonical form */
	OPTF_OFF = 1 << 4,		/* 0 (off, no, none) is legal though below min */
	OPTF_PROGRAM = 1 << 5,		/* a path when it has a '/', else searched in $PATH */
	OPTF_PATH_LIST = 1 << 6,	/* folders between ':' or ',', kept absolute with ':' */
	OPTF_FRESH = 1 << 7,		/* OPT_LIMIT: may be a multiple of a fresh worker's */
	OPTF_SHARE = 1 << 8,		/* OPT_LIMIT: a percentage is of the cgroup's limit */
};

struct option_choice {
	const char *word;	/* NULL ends the list */
	uint64_t value;
};

struct option {
	const char *key;
	enum option_type type;
	size_t offset;		/* in struct settings */
	size_t size;		/* of the field */
	const char *def;	/* NULL: not set */
	uint64_t min, max;	/* for numbers; OPT_INT as int64_t */
	const struct option_choice *choices;
	const char *unset_word;	/* text that stands for the field's "unset" value, e.g. "auto" */
	uint64_t unset_value;
	unsigned flags;
	const char *group;	/* heading in --help and the manual */
	const char *arg;	/* placeholder: SIZE, SECONDS, FILE, ... */
	const char *help;	/* one line */
};

extern const struct option options[];
extern const size_t options_n;

/* NULL when there is no such key. */
const struct option *option_find(const char *key);
/* The legal key nearest to a mistyped one (edit distance), or our key for a name of
 * gunicorn, uvicorn or uWSGI ("[server]" or "[env]" for what belongs in that section);
 * NULL when none is near. */
const char *option_nearest(const char *key);
/* The text of --help: every option by group, at most 80 columns. */
void options_print_help(struct buf *out);

#endif
