/*
 * sparkline.h - a series as one line of a terminal. Pure.
 */
#ifndef PREFORKD_SPARKLINE_H
#define PREFORKD_SPARKLINE_H

#include "base/base.h"
#include "model/growth.h"

struct buf;

/* Appends exactly `columns` columns (1 to SPARKLINE_MAX): RSS over time, each column the mean of its
 * samples; one without any is like the one before it. The lowest level is the smallest RSS, the
 * highest the largest one, but at least a fifth above it: noise shall look flat. Without a known RSS
 * there are blanks. */
#define SPARKLINE_MAX 200
int sparkline_put(struct buf *out, const struct growth_sample *s, size_t n, size_t columns,
    bool is_utf8);

#endif
