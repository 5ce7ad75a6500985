/*
 * io.h - sending and receiving with a deadline, for programs that may wait.
 *
 * For preforkctl and preforkd-http; the master never waits. Works on blocking and
 * non-blocking stream sockets alike and raises no SIGPIPE.
 */
#ifndef PREFORKD_IO_H
#define PREFORKD_IO_H

#include "base/base.h"

struct buf;

#define IO_NO_DEADLINE UINT64_MAX

/* CLOCK_MONOTONIC in ms. */
uint64_t io_now_ms(void);
/* Now plus timeout_ms; 0: IO_NO_DEADLINE. */
uint64_t io_deadline(uint64_t timeout_ms);

/* Sends all of it. 0, -ETIMEDOUT, or another negative errno. */
int io_send(int fd, const void *data, size_t len, uint64_t deadline_ms);

/* Waits for something to read and appends at most 64 KiB of it to in. 0; -ETIMEDOUT;
 * -ECONNRESET at end-of-file; -ENOMEM when it does not fit; another negative errno. A
 * deadline in the past takes what is there already. */
int io_recv(int fd, struct buf *in, uint64_t deadline_ms);

#endif
