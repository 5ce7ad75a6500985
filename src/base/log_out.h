/*
 * log_out.h - between log.c, which makes lines, and the descriptor they go to.
 *
 * Only log.c uses it; log_init and log_is_journal of log.h are implemented there too.
 */
#ifndef PREFORKD_LOG_OUT_H
#define PREFORKD_LOG_OUT_H

#include "base/base.h"

/* Writes what can be written at once; false when lines were lost (they are counted). */
bool log_out_write(const char *data, size_t len);

/* True when lines go to the journal and want "<N>" instead of a time stamp. */
bool log_out_is_journal(void);

/* Lines lost so far; taking sets the count to 0. */
void log_out_add_dropped(uint64_t lines);
uint64_t log_out_take_dropped(void);

#endif
