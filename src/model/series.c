/*
 * series.c - see series.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/series.h"

#include "base/buf.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COLUMNS   9
#define QUOTED    40		/* bytes of a wrong field that are shown */
#define MS_MAX    (UINT64_C(1) << 50)
#define SLOT_MAX  UINT64_C(1000000)
#define VALUE_MAX (UINT64_MAX / 4)

enum { C_SECONDS, C_SLOT, C_SERIAL, C_RSS, C_USS, C_PSS, C_REQUESTS, C_IN_FLIGHT, C_FDS };

static const char *const column_names[COLUMNS] = {
	"seconds", "slot", "serial", "rss_bytes", "uss_bytes", "pss_bytes", "requests",
	"in_flight", "fds",
};

struct row {
	unsigned slot;
	uint64_t serial;
	size_t line;
	struct growth_sample s;
};

struct reader {
	struct row *rows;	/* owned */
	size_t n, cap;
	size_t line;
	struct errs *errs;
};

/* Of the text in the file, what can be shown. */
static const char *
shown(const char *field, size_t len, char dst[static QUOTED + 1])
{
	size_t n = MIN_OF(len, (size_t)QUOTED);

	for (size_t i = 0; i < n; i++)
		dst[i] = field[i] >= 0x20 && field[i] < 0x7f ? field[i] : '?';
	dst[n] = '\0';
	return dst;
}

static int
complain(struct reader *r, int column, const char *field, size_t len, const char *what)
{
	char text[QUOTED + 1];

	errs_add(r->errs, "line %zu: %s: '%s' %s", r->line, column_names[column],
	    shown(field, len, text), what);
	return -EINVAL;
}

/* Digits only. */
static int
parse_number(const char *field, size_t len, uint64_t max, uint64_t *ret)
{
	uint64_t n = 0;

	if (len == 0)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (field[i] < '0' || field[i] > '9')
			return -EINVAL;
		if (n > (max - (uint64_t)(field[i] - '0')) / 10)
			return -ERANGE;
		n = n * 10 + (uint64_t)(field[i] - '0');
	}
	*ret = n;
	return 0;
}

/* Digits, and perhaps a point with one to nine more, which are cut to ms. */
static int
parse_seconds(const char *field, size_t len, uint64_t *ret_ms)
{
	const char *point = memchr(field, '.', len);
	size_t whole = point == NULL ? len : (size_t)(point - field);
	uint64_t n, part = 0, digit, unit = 100;
	int r = parse_number(field, whole, MS_MAX / MSEC_PER_SEC, &n);

	if (r < 0)
		return r;
	if (point != NULL && (len - whole - 1 < 1 || len - whole - 1 > 9))
		return -EINVAL;
	for (size_t i = whole + 1; i < len; i++) {
		if (parse_number(field + i, 1, 9, &digit) < 0)
			return -EINVAL;
		part += digit * unit;
		unit /= 10;
	}
	*ret_ms = n * MSEC_PER_SEC + part;
	return 0;
}

static int
parse_field(struct reader *r, struct row *row, int column, const char *field, size_t len)
{
	uint64_t *const values[COLUMNS] = {
		[C_RSS] = &row->s.rss, [C_USS] = &row->s.uss, [C_PSS] = &row->s.pss,
		[C_REQUESTS] = &row->s.requests, [C_IN_FLIGHT] = &row->s.in_flight,
		[C_FDS] = &row->s.fds,
	};
	uint64_t slot = 0;
	int e;

	if (column == C_SECONDS) {
		e = parse_seconds(field, len, &row->s.ms);
	} else if (column == C_SLOT) {
		e = parse_number(field, len, SLOT_MAX, &slot);
		row->slot = (unsigned)slot;
	} else if (column == C_SERIAL) {
		e = parse_number(field, len, VALUE_MAX, &row->serial);
	} else if (len == 0) {
		*values[column] = GROWTH_UNKNOWN;
		e = 0;
	} else {
		e = parse_number(field, len, VALUE_MAX, values[column]);
	}
	if (e == 0)
		return 0;
	if (len == 0)
		return complain(r, column, field, len, "is missing");
	return complain(r, column, field, len, e == -ERANGE ? "is too large" :
	    column == C_SECONDS ? "is not a number of seconds" : "is not a whole number");
}

static int
parse_row(struct reader *r, const char *line, size_t len, struct row *ret)
{
	int result = 0;

	ret->s.connections = GROWTH_UNKNOWN;
	for (int column = 0; column < COLUMNS; column++) {
		const char *comma = memchr(line, ',', len);
		size_t n = comma == NULL ? len : (size_t)(comma - line);

		if ((comma == NULL) != (column == COLUMNS - 1)) {
			errs_add(r->errs, "line %zu: it has to have %d fields", r->line, COLUMNS);
			return -EINVAL;
		}
		if (parse_field(r, ret, column, line, n) < 0)
			result = -EINVAL;
		if (comma != NULL) {
			line += n + 1;
			len -= n + 1;
		}
	}
	return result;
}

static int
add_row(struct reader *r, const struct row *row)
{
	if (r->n == SERIES_SAMPLES_MAX) {
		errs_add(r->errs, "line %zu: more than %u samples", r->line, SERIES_SAMPLES_MAX);
		return -E2BIG;
	}
	if (r->n == r->cap) {
		size_t cap = r->cap == 0 ? 256 : 2 * r->cap;
		struct row *rows = reallocarray(r->rows, cap, sizeof(*rows));

		if (rows == NULL) {
			errs_add(r->errs, "out of memory");
			return -ENOMEM;
		}
		r->rows = rows;
		r->cap = cap;
	}
	r->rows[r->n++] = *row;
	return 0;
}

static int
read_rows(struct reader *r, const char *text, size_t len)
{
	while (len > 0) {
		const char *end = memchr(text, '\n', len);
		size_t n = end == NULL ? len : (size_t)(end - text);
		size_t used = end == NULL ? n : n + 1;
		struct row row = { 0 };
		int e;

		row.line = ++r->line;
		if (n > 0 && text[n - 1] == '\r')
			n--;
		if (r->line == 1) {
			if (n != strlen(SERIES_HEADER) || memcmp(text, SERIES_HEADER, n) != 0) {
				errs_add(r->errs, "line 1: it has to be '%s'", SERIES_HEADER);
				return -EINVAL;
			}
		} else if (parse_row(r, text, n, &row) < 0) {
			if (r->errs->n + r->errs->dropped >= SERIES_ERRORS_MAX)
				return -EINVAL;
		} else if ((e = add_row(r, &row)) < 0) {
			return e;
		}
		text += used;
		len -= used;
	}
	return 0;
}

static int
compare_rows(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (x->slot != y->slot)
		return x->slot < y->slot ? -1 : 1;
	if (x->serial != y->serial)
		return x->serial < y->serial ? -1 : 1;
	return x->line < y->line ? -1 : x->line > y->line;
}

/* The sorted rows as workers. */
static int
make(const struct reader *r, struct series *s)
{
	size_t workers = 0;

	for (size_t i = 0; i < r->n; i++) {
		const struct row *row = &r->rows[i], *before = i == 0 ? NULL : row - 1;
		bool is_same = before != NULL && before->slot == row->slot &&
		    before->serial == row->serial;

		workers += !is_same;
		if (is_same && row->s.ms < before->s.ms && r->errs->n < SERIES_ERRORS_MAX)
			errs_add(r->errs, "line %zu: it is earlier than line %zu of the same worker",
			    row->line, before->line);
	}
	if (workers > SERIES_WORKERS_MAX)
		errs_add(r->errs, "more than %u workers", SERIES_WORKERS_MAX);
	if (r->errs->n > 0)
		return -EINVAL;
	s->samples = calloc(MAX_OF(r->n, 1u), sizeof(*s->samples));
	s->workers = calloc(MAX_OF(workers, 1u), sizeof(*s->workers));
	if (s->samples == NULL || s->workers == NULL) {
		errs_add(r->errs, "out of memory");
		return -ENOMEM;
	}
	for (size_t i = 0; i < r->n; i++) {
		const struct row *row = &r->rows[i];
		struct series_worker *w = s->n == 0 ? NULL : &s->workers[s->n - 1];

		if (w == NULL || w->slot != row->slot || w->serial != row->serial) {
			w = &s->workers[s->n++];
			w->slot = row->slot;
			w->serial = row->serial;
			w->samples = &s->samples[i];
		}
		s->samples[i] = row->s;
		w->n++;
	}
	s->n_samples = r->n;
	return 0;
}

int
series_parse(const char *text, size_t len, struct series *ret, struct errs *errs)
{
	struct reader r = { .errs = errs };
	struct series s = { 0 };
	int e;

	if (len > SERIES_BYTES_MAX) {
		errs_add(errs, "it is larger than %u MiB", SERIES_BYTES_MAX >> 20);
		return -EINVAL;
	}
	e = read_rows(&r, text, len);
	if (e == 0 && errs->n == 0 && r.n == 0)
		errs_add(errs, "it has no sample");
	if (errs->n == 0 && errs->dropped == 0) {
		qsort(r.rows, r.n, sizeof(*r.rows), compare_rows);
		e = make(&r, &s);
	} else if (e != -ENOMEM) {
		e = -EINVAL;
	}
	free(r.rows);
	if (e < 0)
		series_free(&s);
	else
		*ret = s;
	return e;
}

void
series_free(struct series *s)
{
	free(s->workers);
	free(s->samples);
	*s = (struct series){ 0 };
}

int
series_put_header(struct buf *out)
{
	return buf_puts(out, SERIES_HEADER "\n");
}

int
series_put_sample(struct buf *out, unsigned slot, uint64_t serial, const struct growth_sample *s,
    uint64_t start_ms)
{
	const uint64_t values[] = { s->rss, s->uss, s->pss, s->requests, s->in_flight, s->fds };
	uint64_t ms = s->ms > start_ms ? s->ms - start_ms : 0;

	(void)buf_printf(out, "%" PRIu64 ".%03u,%u,%" PRIu64, ms / MSEC_PER_SEC,
	    (unsigned)(ms % MSEC_PER_SEC), slot, serial);
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		if (values[i] == GROWTH_UNKNOWN)
			(void)buf_putc(out, ',');
		else
			(void)buf_printf(out, ",%" PRIu64, values[i]);
	}
	return buf_putc(out, '\n');
}
