/*
 * series.h - samples of workers as a CSV file, written and read. Pure.
 *
 * One line for each sample, the columns as in SERIES_HEADER; a value that is not known is an empty
 * field. Seconds count from any moment and have at most nine digits behind the point. Lines of
 * different workers (slot and serial) may alternate, those of one worker are in the order of time.
 * The reader is strict, says the number of each wrong line, and reads no more than SERIES_BYTES_MAX
 * bytes, SERIES_SAMPLES_MAX samples and SERIES_WORKERS_MAX workers.
 */
#ifndef PREFORKD_SERIES_H
#define PREFORKD_SERIES_H

#include "base/base.h"
#include "base/err.h"
#include "model/growth.h"

struct buf;

#define SERIES_HEADER "seconds,slot,serial,rss_bytes,uss_bytes,pss_bytes,requests,in_flight,fds"
#define SERIES_BYTES_MAX   (64u << 20)
#define SERIES_SAMPLES_MAX 1000000u
#define SERIES_WORKERS_MAX 100000u
#define SERIES_ERRORS_MAX  20u		/* lines; then it gives up */

struct series_worker {
	unsigned slot;
	uint64_t serial;
	struct growth_sample *samples;	/* into the samples of the whole */
	size_t n;
};

struct series {
	struct series_worker *workers;	/* owned; by slot, then by serial */
	size_t n;
	struct growth_sample *samples;	/* owned; of one worker after another */
	size_t n_samples;
};

/* 0 with *ret (series_free); -EINVAL with at least one text in errs; -ENOMEM, likewise. */
int series_parse(const char *text, size_t len, struct series *ret, struct errs *errs);
void series_free(struct series *s);

/* Append a line. ms counts from start_ms. */
int series_put_header(struct buf *out);
int series_put_sample(struct buf *out, unsigned slot, uint64_t serial,
    const struct growth_sample *s, uint64_t start_ms);

#endif
