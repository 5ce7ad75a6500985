/*
 * steering.h - which of the sockets at one address gets a new connection. Pure.
 *
 * With balance = per-slot an address has a lane for each slot: a listening socket of its own
 * with SO_REUSEPORT. The kernel keeps the sockets of an address in an array, and a classic BPF
 * program picks an index of it for each new connection (socket(7), SO_ATTACH_REUSEPORT_CBPF).
 * The array is in the order of listen(); when a socket leaves, the last one takes its place
 * (reuseport_detach_sock() in net/core/sock_reuseport.c). An index that is out of range falls
 * back to the kernel's hash over all of them.
 */
#ifndef PREFORKD_STEERING_H
#define PREFORKD_STEERING_H

#include "base/base.h"

#include <linux/filter.h>

#define STEERING_LANES_MAX   512u
#define STEERING_PROGRAM_MAX (2 * STEERING_LANES_MAX + 3)

/* The kernel's array: order[index] is the lane whose socket is there. */
struct steering {
	uint16_t order[STEERING_LANES_MAX];
	unsigned n;
};

/* The socket of a lane has begun to listen. False: no room. */
bool steering_add(struct steering *s, unsigned lane);

/* It listens no more. Unknown lanes change nothing. */
void steering_remove(struct steering *s, unsigned lane);

/* What is known of a lane. */
struct steering_lane {
	bool live;		/* a ready worker accepts from it */
	bool waits;		/* connections wait there, and its worker gets nothing done */
	unsigned connections;	/* that its worker has open */
};

/* Which of n lanes shall get new connections: live ones, those where nothing waits before those
 * where somebody does (a worker that hangs), and not those that have clearly more connections
 * than the others. Half of the lanes in question stay in any case, as what is known of a lane may
 * be out of date, and the others must not be buried. ret_pick has n elements, all false when no
 * lane is live. */
void steering_choose(const struct steering_lane *lanes, unsigned n, bool *ret_pick);

/* A program that deals new connections out evenly to the lanes for which live[lane] is true
 * (n_live elements, what is beyond is false); to all of them when none is. code has room for
 * STEERING_PROGRAM_MAX. Returns the number of instructions, 0 without any lane. */
unsigned steering_program(const struct steering *s, const bool *live, unsigned n_live,
    struct sock_filter *code);

#endif
