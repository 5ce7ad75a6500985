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
#define STEERING_SHARE_MAX   100u
#define STEERING_FAIR        4u	/* times a share of half of the lanes: more is none */
#define STEERING_MANY        16u	/* returning ones matter from such a part of all on */

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

/* Which share of new connections each of n lanes shall get: live ones, those where nothing waits
 * before those where somebody does (a worker that hangs), and not those that have clearly more
 * connections than the others. Half of the lanes in question stay in any case, as what is known of
 * a lane may be out of date, and the others must not be buried.
 *
 * `returning` connections are about to come anew, as those of a worker that has just been told to
 * drain do: they are dealt out so that all lanes have as many in the end. When there are none, or
 * few, the lanes in question have equal shares. ret_share has n elements, all 0 when no lane is live. */
void steering_choose(const struct steering_lane *lanes, unsigned n, uint64_t returning,
    uint8_t *ret_share);

/* A program that deals new connections out to the lanes by their shares (n_shares elements, what
 * is beyond has none); evenly to all of them when none has one. code has room for
 * STEERING_PROGRAM_MAX. Returns the number of instructions, 0 without any lane. */
unsigned steering_program(const struct steering *s, const uint8_t *shares, unsigned n_shares,
    struct sock_filter *code);

#endif
