/*
 * log.c - formats one line per event and hands it on without ever waiting.
 *
 * Text lines carry a time stamp, except on a stream to the journal, which has its
 * own and gets "<N>" priorities instead. JSON lines are one object each. A
 * message of several lines (a traceback) stays readable in text: its further
 * lines are indented, so that no text of a worker can pass for a line of ours.
 *
 * What cannot be written at once is lost (log_out.c); how many lines that were
 * is said as soon as something can be written again.
 */
#include "base/log.h"
#include "base/log_out.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define MESSAGE_CAP 8192	/* longer messages are cut */
#define LINE_CAP    16384
#define TAIL_ROOM   16		/* kept free for what ends a line */
#define WORD_MAX    64		/* of event and reason */
#define WHO_MAX     96		/* three numbers and their names */

static const char continuation[] = "\n    | ";

static struct {
	enum log_level level;
	enum log_format format;
	log_sink_fn sink;
	void *ctx;
} log_state = { .level = LOG_LEVEL_INFO };

struct line {
	size_t len;
	bool is_cut;
	char data[LINE_CAP];
};

static const char *
level_name(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR: return "error";
	case LOG_LEVEL_WARN: return "warn";
	case LOG_LEVEL_NOTICE: return "notice";
	case LOG_LEVEL_INFO: return "info";
	case LOG_LEVEL_DEBUG: return "debug";
	}
	return "info";
}

static const char *
level_label(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR: return "ERROR";
	case LOG_LEVEL_WARN: return "WARN ";
	case LOG_LEVEL_NOTICE: return "NOTICE";
	case LOG_LEVEL_INFO: return "INFO ";
	case LOG_LEVEL_DEBUG: return "DEBUG";
	}
	return "INFO ";
}

static void
line_put(struct line *l, const char *data, size_t len)
{
	if (l->is_cut || len > LINE_CAP - TAIL_ROOM - l->len) {
		l->is_cut = true;
		return;
	}
	memcpy(l->data + l->len, data, len);
	l->len += len;
}

static void
line_puts(struct line *l, const char *s)
{
	line_put(l, s, strlen(s));
}

static void
line_printf(struct line *l, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void
line_printf(struct line *l, const char *fmt, ...)
{
	char part[128];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(part, sizeof(part), fmt, ap);
	va_end(ap);
	if (n > 0)
		line_put(l, part, MIN_OF((size_t)n, sizeof(part) - 1));
}

/* Always fits, thanks to TAIL_ROOM. */
static void
line_end(struct line *l, const char *tail)
{
	size_t len = strlen(tail);

	if (l->is_cut) {
		memcpy(l->data + l->len, "...", 3);
		l->len += 3;
	}
	memcpy(l->data + l->len, tail, len);
	l->len += len;
}

/* Bytes of the UTF-8 character at s, 0 when it is none. */
static size_t
utf8_len(const unsigned char *s, size_t len)
{
	static const struct {
		unsigned char lo, hi, lo2, hi2, n;
	} forms[] = {
		{ 0x00, 0x7f, 0, 0, 1 },
		{ 0xc2, 0xdf, 0x80, 0xbf, 2 },
		{ 0xe0, 0xe0, 0xa0, 0xbf, 3 },
		{ 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 },	/* no surrogates */
		{ 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 },
		{ 0xf1, 0xf3, 0x80, 0xbf, 4 },
		{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		if (s[0] < forms[i].lo || s[0] > forms[i].hi)
			continue;
		if (forms[i].n > len ||
		    (forms[i].n > 1 && (s[1] < forms[i].lo2 || s[1] > forms[i].hi2)))
			return 0;
		for (size_t k = 2; k < forms[i].n; k++)
			if ((s[k] & 0xc0) != 0x80)
				return 0;
		return forms[i].n;
	}
	return 0;
}

static void
put_text(struct line *l, const char *text, const char *newline)
{
	for (const char *p = text; *p; p++) {
		unsigned char c = (unsigned char)*p;

		if (c == '\n' && p[1] == '\0')
			break;
		if (c == '\n') {
			line_puts(l, newline);
		} else if ((c < 0x20 && c != '\t') || c == 0x7f) {
			line_put(l, "?", 1);
		} else if (c == 0xc2 && ((unsigned char)p[1] & 0xe0) == 0x80) {
			line_put(l, "?", 1);	/* control characters 0x80 to 0x9f */
			p++;
		} else {
			line_put(l, p, 1);
		}
	}
}

static void
put_json_string(struct line *l, const char *text, size_t max)
{
	size_t len = strnlen(text, max);

	line_put(l, "\"", 1);
	for (size_t i = 0; i < len; ) {
		unsigned char c = (unsigned char)text[i];
		size_t n = utf8_len((const unsigned char *)text + i, len - i);

		if (n == 0) {
			line_puts(l, "\\ufffd");
			n = 1;
		} else if (c == '"' || c == '\\') {
			line_put(l, (const char[]){ '\\', (char)c }, 2);
		} else if (c == '\n') {
			line_puts(l, "\\n");
		} else if (c == '\t') {
			line_puts(l, "\\t");
		} else if (c < 0x20 || c == 0x7f) {
			line_printf(l, "\\u%04x", (unsigned)c);
		} else {
			line_put(l, text + i, n);
		}
		i += n;
	}
	if (!l->is_cut)
		line_put(l, "\"", 1);
}

size_t
log_format_about(const struct log_about *about, char *dst, size_t size)
{
	char slot[24] = "", pid[24] = "", generation[24] = "";
	int n;

	if (about && about->slot)
		snprintf(slot, sizeof(slot), " slot %u", about->slot);
	if (about && about->pid)
		snprintf(pid, sizeof(pid), " pid %d", (int)about->pid);
	if (about && about->generation)
		snprintf(generation, sizeof(generation), " gen %u", about->generation);
	dst[0] = '\0';
	if (!slot[0] && !pid[0] && !generation[0])
		return 0;
	n = snprintf(dst, size, "%s%s%s: ", slot, pid, generation);
	if (n < 0)
		return 0;
	/* without the blank in front */
	memmove(dst, dst + 1, strlen(dst));
	return strlen(dst);
}

static void
format_text(struct line *l, enum log_level level, const struct log_about *about,
    const char *message)
{
	char newline[sizeof(continuation) + 8];
	char who[WHO_MAX];

	if (log_out_is_journal()) {
		line_printf(l, "<%d>", (int)level);
		snprintf(newline, sizeof(newline), "\n<%d>    | ", (int)level);
	} else {
		char stamp[32];
		struct timespec now;
		struct tm tm;

		clock_gettime(CLOCK_REALTIME, &now);
		if (!localtime_r(&now.tv_sec, &tm) ||
		    strftime(stamp, sizeof(stamp), "%Y-%m-%d %H:%M:%S", &tm) == 0)
			stamp[0] = '\0';
		line_printf(l, "%s.%03ld %s ", stamp, now.tv_nsec / 1000000, level_label(level));
		snprintf(newline, sizeof(newline), "%s", continuation);
	}
	log_format_about(about, who, sizeof(who));
	line_puts(l, who);
	put_text(l, message, newline);
	line_end(l, "\n");
}

static void
format_json(struct line *l, enum log_level level, const struct log_about *about,
    const char *message)
{
	char stamp[32] = "";
	struct timespec now;
	struct tm tm;

	/* the journal takes the prefix off again and keeps it as the priority */
	if (log_out_is_journal())
		line_printf(l, "<%d>", (int)level);
	clock_gettime(CLOCK_REALTIME, &now);
	if (gmtime_r(&now.tv_sec, &tm))
		strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	line_printf(l, "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\"", stamp,
	    now.tv_nsec / 1000000, level_name(level));
	if (about) {
		if (about->slot)
			line_printf(l, ",\"slot\":%u", about->slot);
		if (about->pid)
			line_printf(l, ",\"pid\":%d", (int)about->pid);
		if (about->serial)
			line_printf(l, ",\"serial\":%ju", (uintmax_t)about->serial);
		if (about->generation)
			line_printf(l, ",\"generation\":%u", about->generation);
		if (about->event) {
			line_puts(l, ",\"event\":");
			put_json_string(l, about->event, WORD_MAX);
		}
		if (about->reason) {
			line_puts(l, ",\"reason\":");
			put_json_string(l, about->reason, WORD_MAX);
		}
	}
	line_puts(l, ",\"message\":");
	put_json_string(l, message, MESSAGE_CAP);
	line_end(l, l->is_cut ? "\"}\n" : "}\n");
}

static bool
write_message(enum log_level level, const struct log_about *about, const char *message)
{
	static struct line l;

	l.len = 0;
	l.is_cut = false;
	if (log_state.format == LOG_FORMAT_JSON)
		format_json(&l, level, about, message);
	else
		format_text(&l, level, about, message);
	return log_out_write(l.data, l.len);
}

/* False while there is still no room. */
static bool
report_dropped(void)
{
	uint64_t n = log_out_take_dropped();
	char text[128];

	if (n == 0)
		return true;
	snprintf(text, sizeof(text), "%ju log line%s lost: the log was not taken in time",
	    (uintmax_t)n, n == 1 ? "" : "s");
	if (log_state.sink) {
		log_state.sink(log_state.ctx, LOG_LEVEL_WARN, NULL, text);
		return true;
	}
	if (write_message(LOG_LEVEL_WARN, NULL, text))
		return true;
	/* the report itself is no loss */
	log_out_take_dropped();
	log_out_add_dropped(n);
	return false;
}

void
log_set_level(enum log_level level)
{
	log_state.level = level;
}

enum log_level
log_get_level(void)
{
	return log_state.level;
}

void
log_set_format(enum log_format format)
{
	log_state.format = format;
}

void
log_set_sink(log_sink_fn sink, void *ctx)
{
	log_state.sink = sink;
	log_state.ctx = ctx;
}

void
log_vwrite(enum log_level level, const struct log_about *about, const char *fmt, va_list ap)
{
	int saved = errno;
	char message[MESSAGE_CAP];
	int n;

	if (level > log_state.level)
		return;
	n = vsnprintf(message, sizeof(message), fmt, ap);
	if (n < 0)
		snprintf(message, sizeof(message), "%s", fmt);
	else if ((size_t)n >= sizeof(message))
		memcpy(message + sizeof(message) - 4, "...", 4);
	if (!report_dropped())
		log_out_add_dropped(1);
	else if (log_state.sink)
		log_state.sink(log_state.ctx, level, about, message);
	else
		write_message(level, about, message);
	errno = saved;
}

void
log_write(enum log_level level, const struct log_about *about, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_vwrite(level, about, fmt, ap);
	va_end(ap);
}

void
log_raw(const char *data, size_t len)
{
	int saved = errno;

	log_out_write(data, len);
	errno = saved;
}

bool
log_limit_pass(struct log_limit *l, uint64_t now_ms, unsigned *ret_suppressed)
{
	if (now_ms - l->window_start_ms >= l->interval_ms || now_ms < l->window_start_ms) {
		l->window_start_ms = now_ms;
		l->used = 0;
	}
	if (l->used >= l->burst) {
		l->suppressed++;
		return false;
	}
	l->used++;
	if (ret_suppressed)
		*ret_suppressed = l->suppressed;
	l->suppressed = 0;
	return true;
}
