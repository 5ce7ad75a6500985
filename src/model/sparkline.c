/*
 * sparkline.c - see sparkline.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/sparkline.h"

#include "base/buf.h"

#define LEVELS 8
#define RANGE  0.2		/* of the largest value, at least */

static const char *const blocks[LEVELS] = {
	"\u2581", "\u2582", "\u2583", "\u2584", "\u2585", "\u2586", "\u2587", "\u2588",
};
static const char *const letters[LEVELS] = { "_", ".", "-", "=", "+", "*", "%", "#" };

static void
put_level(struct buf *out, double part, bool is_utf8)
{
	int level = (int)(part * LEVELS);

	level = MIN_OF(MAX_OF(level, 0), LEVELS - 1);
	(void)buf_puts(out, is_utf8 ? blocks[level] : letters[level]);
}

int
sparkline_put(struct buf *out, const struct growth_sample *s, size_t n, size_t columns,
    bool is_utf8)
{
	double sum[SPARKLINE_MAX] = { 0 }, low = 0.0, high = 0.0, last;
	size_t count[SPARKLINE_MAX] = { 0 };
	double span = n == 0 ? 0.0 : (double)(s[n - 1].ms - s[0].ms) + 1.0;
	bool any = false;

	columns = MIN_OF(columns, (size_t)SPARKLINE_MAX);
	for (size_t i = 0; i < n; i++) {
		double at = (double)(s[i].ms - s[0].ms) / span * (double)columns;
		size_t k = MIN_OF((size_t)at, columns - 1);

		if (s[i].rss == GROWTH_UNKNOWN)
			continue;
		sum[k] += (double)s[i].rss;
		count[k]++;
	}
	for (size_t k = 0; k < columns; k++) {
		double mean = count[k] > 0 ? sum[k] / (double)count[k] : 0.0;

		if (count[k] == 0)
			continue;
		sum[k] = mean;
		low = any ? MIN_OF(low, mean) : mean;
		high = any ? MAX_OF(high, mean) : mean;
		any = true;
	}
	high = MAX_OF(high, low + RANGE * high) + 1.0;
	last = low;
	for (size_t k = 0; k < columns; k++) {
		if (count[k] > 0)
			last = sum[k];
		if (any)
			put_level(out, (last - low) / (high - low), is_utf8);
		else
			(void)buf_putc(out, ' ');
	}
	return out->failed ? -ENOMEM : 0;
}
