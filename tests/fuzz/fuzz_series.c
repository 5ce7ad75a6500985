/*
 * fuzz_series.c - any bytes as a CSV file of samples.
 *
 * What is accepted is written and read back to the same, and can be judged and shown; what is
 * refused is refused with a reason.
 */
#include "base/buf.h"
#include "model/memory_report.h"
#include "model/series.h"

#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
fail(const char *what)
{
	fprintf(stderr, "%s\n", what);
	abort();
}

static void
check_again(const struct series *s)
{
	struct buf text AUTO_BUF = BUF_INIT(1u << 24);
	static struct errs errs;
	struct series again;

	(void)series_put_header(&text);
	for (size_t i = 0; i < s->n; i++)
		for (size_t k = 0; k < s->workers[i].n; k++)
			(void)series_put_sample(&text, s->workers[i].slot, s->workers[i].serial,
			    &s->workers[i].samples[k], 0);
	if (text.failed || series_parse(text.data, text.len, &again, &errs) < 0)
		fail("what was written is not read");
	if (again.n != s->n || again.n_samples != s->n_samples ||
	    memcmp(again.samples, s->samples, s->n_samples * sizeof(*s->samples)) != 0)
		fail("what was written is read as something else");
	series_free(&again);
}

static void
check_report(const struct series *s)
{
	struct growth_series *series AUTO_FREE = calloc(s->n, sizeof(*series));
	struct memory_report r = { .series = series, .n = s->n, .facts = { .workers = s->n,
		.trim_gc = GROWTH_UNKNOWN, .trim_malloc = GROWTH_UNKNOWN, .limit_rss = 1 << 28 } };
	struct buf out AUTO_BUF = BUF_INIT(1u << 26);
	json_t *json;

	if (series == NULL)
		return;
	for (size_t i = 0; i < s->n; i++)
		series[i] = (struct growth_series){ .slot = s->workers[i].slot,
			.serial = s->workers[i].serial, .samples = s->workers[i].samples,
			.n = s->workers[i].n, .facts = r.facts };
	if (memory_report_judge(&r) < 0)
		fail("not judged");
	json = memory_report_json(&r);
	if (json == NULL || memory_report_print(&r, 80, s->n % 2 == 1, &out) < 0)
		fail("not shown");
	json_decref(json);
	memory_report_done(&r);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct errs errs;
	struct series s;

	if (series_parse((const char *)data, size, &s, &errs) < 0) {
		if (errs.n == 0)
			fail("refused without a reason");
		errs_clear(&errs);
		return 0;
	}
	check_again(&s);
	check_report(&s);
	series_free(&s);
	return 0;
}
