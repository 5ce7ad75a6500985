/*
 * lanes.h - one TCP address with a listening socket for each slot.
 *
 * Lane 0 is the listener itself; lanes 1 and up are further sockets at its address that it
 * owns, made with SO_REUSEPORT (ip(7), socket(7)). A lane outlives the workers that accept
 * from it. Which lanes get new connections is steered by a program in the kernel; an ordinary
 * listener has one lane and no program. Never logs.
 */
#ifndef PREFORKD_LANES_H
#define PREFORKD_LANES_H

#include "base/base.h"
#include "base/err.h"
#include "system/listen.h"

/* At least 1. */
unsigned lanes_count(const struct listener *l);

/* The socket of a lane; that of lane 0 where there are not so many. Borrowed. */
struct listener *lanes_socket(struct listener *l, unsigned lane);

/* True for addresses that can have lanes: TCP sockets that were opened here. */
bool lanes_possible(const struct listener *l);

/* Opens lanes until there are n; lanes_steer() decides when they get connections. On failure
 * those that could be opened stay, and e says why. */
int lanes_grow(struct listener *l, unsigned n, int backlog, struct err *e);

/* Closes the lanes from n up, with what waits in their queues, also for those who hold a copy. */
void lanes_shrink(struct listener *l, unsigned n);

/* New connections go to the lanes by their shares (n elements) from now on, to all when none has
 * one; those that wait in a queue stay there. Without a change it costs nothing. */
int lanes_steer(struct listener *l, const uint8_t *shares, unsigned n, struct err *e);

/* listener_check() of one lane, which keeps the books when it had to listen again. */
int lanes_check(struct listener *l, unsigned lane, int backlog, struct err *e);

/* No new connections at any lane: those that have begun and those that wait can
 * still be accepted. TCP drops what would begin one, so that a client tries again; a unix
 * socket's file is removed. Only for sockets that were opened here. */
void lanes_block(struct listener *l);

/* Takes that back, where it can be: not for a unix socket, whose file is gone. */
bool lanes_unblock(struct listener *l);

/* Frees what listener_unref() finds. */
void lanes_free(struct listener *l);

#endif
