/*
 * signals.h - every signal that can reach the master, handled or ignored on purpose.
 */
#ifndef PREFORKD_SIGNALS_H
#define PREFORKD_SIGNALS_H

struct master;

/* First thing in main(): a signal that comes before the loop runs waits instead of
 * killing; those without a meaning here are ignored. */
void signals_prepare(void);
void signals_start(struct master *m);
void signals_stop(struct master *m);

#endif
