/*
 * worker_peak.c - the most memory that a worker has ever had resident.
 *
 * The kernel keeps the peak of each process (VmHWM), which sees what comes and goes between two
 * samples, but none of a group: with descendants it is the largest sum that was sampled, if that is
 * more. Reading it costs more than a sample, so it is done seldom; the last word has what the
 * kernel says of the dead (struct death).
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/worker.h"

#include "system/procmem.h"

#define READ_MS UINT64_C(60000)

void
worker_note_peak(struct worker *w, uint64_t rss, uint64_t now_ms)
{
	uint64_t peak;

	w->peak_bytes = MAX_OF(w->peak_bytes, rss);
	/* Until READY it may be another program than the one that it execs. */
	if (worker_state(w) == WS_STARTING ||
	    (w->peak_read_ms != 0 && now_ms - w->peak_read_ms < READ_MS))
		return;
	w->peak_read_ms = now_ms;
	if (procmem_read_peak(&w->mem, &peak) == 0)
		w->peak_bytes = MAX_OF(w->peak_bytes, peak);
}
