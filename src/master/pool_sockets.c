/*
 * pool_sockets.c - who accepts from which listening socket, and which gets new connections.
 *
 * A worker accepts from one lane of each address of its generation. New connections go to the
 * lanes of those that are ready, few connections first. Those of a worker that drains come back at
 * once: they are dealt out, or its successor would get them all, as one with none.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/pool.h"

#include "model/steering.h"
#include "system/clock.h"
#include "system/lanes.h"

#include <string.h>

/* Those that ask do so at once; the others stay until the end of the drain. */
#define RETURN_MS     UINT64_C(1000)
/* The workers themselves gather their news for as long. */
#define STEER_SECONDS .05

unsigned
pool_lane_at(const struct worker *w, const struct listener *l)
{
	return w->lane < lanes_count(l) ? w->lane : 0;
}

/* Lanes. */

void
pool_fit_lanes(struct pool *p)
{
	struct generation *gen = p->gen;
	struct err e;

	for (size_t i = 0; i < gen->n_listeners && gen->per_slot; i++) {
		struct listener *l = gen->listeners[i];

		if (!lanes_possible(l) ||
		    lanes_grow(l, (unsigned)p->target, (int)gen->settings->backlog, &e) >= 0)
			continue;
		log_warn("balance: no socket for each slot: %s; new workers share one", e.text);
		gen->per_slot = false;
	}
	pool_steer(p);
}

static bool
any_live(const struct steering_lane *lanes, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (lanes[i].live)
			return true;
	return false;
}

/* Nobody serves: connections wait where somebody will soon, or does for the last time. */
static void
live_soon(const struct pool *p, const struct listener *l, struct steering_lane *lanes)
{
	unsigned wanted = p->gen->per_slot ? (unsigned)p->target : 1;

	for (unsigned i = 0; i < MIN_OF(wanted, lanes_count(l)); i++)
		lanes[i].live = generation_has_listener(p->gen, l);
	for (size_t i = 0; i < p->n_all; i++) {
		const struct worker *w = p->all[i];

		if (worker_state(w) == WS_DRAINING && w->holds &&
		    generation_has_listener(w->gen, l))
			lanes[pool_lane_at(w, l)].live = true;
	}
}

static void
steer(struct pool *p, struct listener *l)
{
	struct steering_lane lanes[STEERING_LANES_MAX] = {{ false, false, 0 }};
	uint8_t shares[STEERING_LANES_MAX];
	uint64_t returning = 0, now = clock_now_ms();
	struct err e;

	if (lanes_count(l) < 2)
		return;
	for (size_t i = 0; i < p->n_all; i++) {
		struct worker *w = p->all[i];

		w->steered_connections = w->connections;
		if (!generation_has_listener(w->gen, l))
			continue;
		if (worker_state(w) == WS_READY)
			lanes[pool_lane_at(w, l)] = (struct steering_lane){
				.live = true, .waits = w->waits, .connections = w->connections,
			};
		else if (worker_state(w) == WS_DRAINING && now - w->gov.drain_ms < RETURN_MS)
			returning += w->connections;
	}
	if (!any_live(lanes, lanes_count(l)))
		live_soon(p, l, lanes);
	steering_choose(lanes, lanes_count(l), returning, shares);
	if (lanes_steer(l, shares, lanes_count(l), &e) < 0)
		log_warn("balance: %s; the kernel deals them out to all slots", e.text);
}

void
pool_steer(struct pool *p)
{
	for (size_t i = 0; i < p->gen->n_listeners; i++)
		steer(p, p->gen->listeners[i]);
	for (size_t i = 0; i < p->n_leaving; i++)
		steer(p, p->leaving[i]);
}

/* Lets every other socket that stands in the way of l share the port, or ends that. */
static void
share_with(const struct pool *p, const struct listener *l, bool on)
{
	size_t n_now = p->gen->n_listeners;

	for (size_t i = 0; i < n_now + p->n_leaving; i++) {
		struct listener *x = i < n_now ? p->gen->listeners[i] : p->leaving[i - n_now];

		if (x != l && address_overlaps(&l->address, &x->address))
			listener_share_port(x, on || lanes_count(x) > 1);
	}
}

void
pool_start_quiet(const struct pool *p, const struct generation *gen)
{
	struct err e;

	for (size_t i = 0; i < gen->n_listeners; i++) {
		struct listener *l = gen->listeners[i];

		if (!l->is_quiet)
			continue;
		/* The kernel looks again at listen(2) who else has the port. */
		listener_share_port(l, true);
		share_with(p, l, true);
		if (listener_start(l, &e) < 0)
			log_error("%s", e.text);
		share_with(p, l, false);
		listener_share_port(l, lanes_count(l) > 1);
	}
}

static void
on_steering(struct ev_loop *loop UNUSED, ev_timer *t, int revents UNUSED)
{
	pool_steer(container_of(t, struct pool, steering));
}

void
pool_steer_soon(struct pool *p, const struct worker *w)
{
	if (!w->gen->per_slot || ev_is_active(&p->steering) ||
	    (worker_state(w) != WS_READY && worker_state(w) != WS_DRAINING) ||
	    w->connections == w->steered_connections)
		return;
	ev_timer_init(&p->steering, on_steering, STEER_SECONDS, 0.);
	ev_timer_start(p->loop, &p->steering);
}

bool
pool_is_waited_for(const struct worker *w)
{
	for (size_t i = 0; i < w->gen->n_listeners; i++)
		if (lanes_count(w->gen->listeners[i]) > w->lane && w->gen->listeners[i]->is_ours &&
		    listener_has_waiting(lanes_socket(w->gen->listeners[i], w->lane)))
			return true;
	return false;
}

void
pool_look_at_queues(struct pool *p)
{
	bool changed = false;

	for (size_t i = 0; i < p->n_all; i++) {
		struct worker *w = p->all[i];
		bool waiting = false, waits;

		if (worker_state(w) != WS_READY || !w->gen->per_slot)
			continue;
		for (size_t k = 0; k < w->gen->n_listeners && !waiting; k++)
			waiting = listener_has_waiting(lanes_socket(w->gen->listeners[k], w->lane));
		/* A queue is seldom empty where there is much to do: but then something gets done. */
		waits = waiting && w->had_waiting && w->requests == w->seen_requests;
		w->seen_requests = w->requests;
		changed = changed || waits != w->waits;
		w->had_waiting = waiting;
		w->waits = waits;
	}
	if (changed)
		pool_steer(p);
}

static bool
lane_has_worker(const struct pool *p, const struct listener *l, unsigned lane)
{
	for (size_t i = 0; i < p->n_all; i++) {
		const struct worker *w = p->all[i];

		if (worker_state_is_alive(worker_state(w)) && w->lane == lane &&
		    generation_has_listener(w->gen, l))
			return true;
	}
	return false;
}

/* Lanes of slots that are gone, from the last one down: the kernel's order stays known. */
void
pool_trim_lanes(struct pool *p)
{
	unsigned wanted = p->gen->per_slot ? (unsigned)p->target : 1;

	for (size_t i = 0; i < p->gen->n_listeners; i++) {
		struct listener *l = p->gen->listeners[i];

		while (lanes_count(l) > wanted && !lane_has_worker(p, l, lanes_count(l) - 1))
			lanes_shrink(l, lanes_count(l) - 1);
	}
}

/* They have copies of a socket that nothing can bring back to life. */
static void
replace_all_at(struct pool *p, const struct listener *l)
{
	for (size_t i = 0; i < p->n_all; i++)
		if (worker_state(p->all[i]) == WS_READY &&
		    generation_has_listener(p->all[i]->gen, l))
			governor_order(&p->all[i]->gov, REASON_REQUEST, clock_now_ms());
	pool_wake(p);
}

static void
check_lane(struct pool *p, const struct generation *gen, struct listener *l, unsigned lane)
{
	struct err e;
	int r = lanes_check(l, lane, (int)gen->settings->backlog, &e);

	/* Every server calls listen() with a backlog of its own: no news. */
	if (r < 0) {
		log_error("a listening socket is broken: %s", e.text);
	} else if (r > 0 && e.code == ESTALE) {
		log_warn("%s; a new one is open in its place, all workers are replaced", e.text);
		replace_all_at(p, l);
	} else if (r > 0 && e.code == ESHUTDOWN) {
		log_warn("%s; it listens again", e.text);
	} else if (r > 0) {
		log_debug("%s; put back", e.text);
	}
}

void
pool_check_sockets(struct pool *p, const struct generation *gen, unsigned lane)
{
	for (size_t i = 0; i < gen->n_listeners; i++)
		if (!gen->listeners[i]->is_blocked)
			check_lane(p, gen, gen->listeners[i],
			    lane < lanes_count(gen->listeners[i]) ? lane : 0);
}

void
pool_check_all_sockets(struct pool *p)
{
	for (size_t i = 0; i < p->gen->n_listeners; i++) {
		struct listener *l = p->gen->listeners[i];

		for (unsigned lane = 0; lane < lanes_count(l) && !l->is_blocked; lane++)
			check_lane(p, p->gen, l, lane);
	}
	pool_steer(p);
}
