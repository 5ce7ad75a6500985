/*
 * option_doc.h - the line of facts that the manual shows for an option.
 *
 * "(count, default 2, 1 to 1000; reload: at once)": test_options.c compares it with
 * man/preforkd.ini.5, so that table and manual cannot drift apart.
 */
#ifndef PREFORKD_TESTS_OPTION_DOC_H
#define PREFORKD_TESTS_OPTION_DOC_H

#include "base/buf.h"
#include "model/options.h"
#include "model/values.h"

#include <inttypes.h>

/* A number as the option's type writes it. */
static inline void
option_doc_number(const struct option *o, uint64_t v, struct buf *out)
{
	bool is_time = o->type == OPT_TIME || o->type == OPT_READY ||
	    (o->type == OPT_JITTER && (o->flags & OPTF_JITTER_TIME));

	if (o->type == OPT_SIZE || o->type == OPT_LIMIT)
		value_print_size(v, out);
	else if (is_time)
		value_print_time(v, out);
	else if (o->type == OPT_MODE)
		buf_printf(out, "%04" PRIo64, v);
	else if (o->type == OPT_INT)
		buf_printf(out, "%" PRId64, (int64_t)v);
	else
		buf_printf(out, "%" PRIu64, v);
}

static inline const char *
option_doc_type(const struct option *o)
{
	static const char *const names[OPT_N_TYPES] = {
		[OPT_STRING] = "text", [OPT_PATH] = "path", [OPT_COMMAND] = "command",
		[OPT_COUNT] = "count", [OPT_SIZE] = "size", [OPT_TIME] = "time",
		[OPT_MODE] = "mode", [OPT_INT] = "number", [OPT_BOOL] = "yes or no",
		[OPT_CHOICE] = "word", [OPT_JITTER] = "count or percentage",
		[OPT_LIST] = "list", [OPT_READY] = "word or time",
		[OPT_WORKER_LOG] = "word or path", [OPT_LIMIT] = "size or percentage",
	};

	if (o->type == OPT_JITTER && (o->flags & OPTF_JITTER_TIME))
		return "time or percentage";
	if (o->type == OPT_LIMIT && (o->flags & OPTF_FRESH))
		return "size, multiple or percentage";
	return names[o->type];
}

static inline bool
option_doc_has_range(const struct option *o)
{
	return o->type == OPT_COUNT || o->type == OPT_SIZE || o->type == OPT_TIME ||
	    o->type == OPT_MODE || o->type == OPT_INT || o->type == OPT_JITTER ||
	    o->type == OPT_READY || o->type == OPT_LIMIT;
}

static inline void
option_doc_print(const struct option *o, struct buf *out)
{
	buf_printf(out, "(%s, %s%s", option_doc_type(o), o->def ? "default " : "not set",
	    o->def ? o->def : "");
	if (option_doc_has_range(o)) {
		buf_puts(out, ", ");
		option_doc_number(o, o->min, out);
		buf_puts(out, " to ");
		option_doc_number(o, o->max, out);
		if (o->flags & OPTF_OFF)
			buf_puts(out, " or 0 for off");
	}
	buf_printf(out, "; reload: %s)", o->flags & OPTF_RESTART ? "needs a restart"
	    : o->flags & OPTF_NEW_WORKERS ? "new workers" : "at once");
}

#endif
