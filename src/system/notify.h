/*
 * notify.h - what systemd is told, and the journal.
 *
 * Datagrams of our own, since sd_notify and sd_journal_send wait while the receiver's queue
 * is full. Without NOTIFY_SOCKET every notify call does nothing. The variables NOTIFY_SOCKET,
 * WATCHDOG_USEC and WATCHDOG_PID are read at notify_init and removed from the environment,
 * so that no child can speak for us.
 */
#ifndef PREFORKD_NOTIFY_H
#define PREFORKD_NOTIFY_H

#include "base/base.h"
#include "base/log.h"

void notify_init(void);
/* Interval for notify_watchdog in ms (half of WATCHDOG_USEC), 0: no watchdog. */
uint64_t notify_watchdog_ms(void);

void notify_ready(const char *status);
void notify_status(const char *status);
/* RELOADING=1 with MONOTONIC_USEC. */
void notify_reloading(const char *status);
void notify_stopping(const char *status);
void notify_extend_timeout(uint64_t ms);
void notify_watchdog(void);

/* True when stderr is the journal (JOURNAL_STREAM names its device and inode). */
bool journal_is_stderr(void);
extern const char *journal_socket;	/* "/run/systemd/journal/socket"; tests put their own */
/* A log_sink_fn that writes native fields: PREFORKD_SLOT, PREFORKD_WORKER_PID,
 * PREFORKD_SERIAL, PREFORKD_GENERATION, PREFORKD_EVENT, PREFORKD_REASON. What cannot be
 * sent goes to log_raw. */
void journal_sink(void *ctx, enum log_level level, const struct log_about *about,
    const char *message);

#endif
