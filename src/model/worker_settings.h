/*
 * worker_settings.h - what a Python worker is told about its settings. Pure.
 */
#ifndef PREFORKD_WORKER_SETTINGS_H
#define PREFORKD_WORKER_SETTINGS_H

#include "base/base.h"
#include "model/settings.h"

/*
 * The value of PREFORKD_SETTINGS: one JSON object (preforkd-worker(7) lists its members).
 * title: process title; limit_requests: 0 for none; beat_ms: between heartbeats, 0 for
 * none. Owned; NULL: out of memory, or a setting that is no UTF-8.
 */
char *worker_settings_json(const struct settings *s, const char *title,
    uint64_t limit_requests, uint64_t beat_ms);

#endif
