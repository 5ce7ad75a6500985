/*
 * pool_sockets.c - who accepts from which listening socket, and how one is left without a loss.
 *
 * A worker accepts from one lane of each address of its generation. Before it is told to stop
 * accepting, somebody else must accept from the same socket, or nothing may wait there: where
 * neither is so the worker holds the door. It is draining then, its responses close their
 * connections, new ones are kept away, and it accepts on until the queue is empty.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/pool.h"

#include "model/steering.h"
#include "system/clock.h"
#include "system/lanes.h"

#include <string.h>

#define HOLD_LOOK_SECONDS .02
/* The workers themselves gather their news for as long. */
#define STEER_SECONDS .05

/* A handshake that had begun when new connections were kept away needs a round trip more. */
#define HANDSHAKE_MS UINT64_C(200)

static unsigned
lane_at(const struct worker *w, const struct listener *l)
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

static void
steer(struct pool *p, struct listener *l)
{
	struct steering_lane lanes[STEERING_LANES_MAX] = {{ false, false, 0 }};
	bool pick[STEERING_LANES_MAX];
	struct err e;

	if (lanes_count(l) < 2)
		return;
	for (size_t i = 0; i < p->n_all; i++) {
		const struct worker *w = p->all[i];

		if (worker_state(w) == WS_READY && generation_has_listener(w->gen, l))
			lanes[lane_at(w, l)] = (struct steering_lane){
				.live = true, .waits = w->waits, .connections = w->connections,
			};
	}
	steering_choose(lanes, lanes_count(l), pick);
	if (lanes_steer(l, pick, lanes_count(l), &e) < 0)
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

static void
on_steering(struct ev_loop *loop UNUSED, ev_timer *t, int revents UNUSED)
{
	pool_steer(container_of(t, struct pool, steering));
}

void
pool_steer_soon(struct pool *p, const struct worker *w)
{
	if (!w->gen->per_slot || worker_state(w) != WS_READY || ev_is_active(&p->steering))
		return;
	ev_timer_init(&p->steering, on_steering, STEER_SECONDS, 0.);
	ev_timer_start(p->loop, &p->steering);
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
		waits = waiting && w->had_waiting;
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
			check_lane(p, gen, gen->listeners[i], lane);
}

void
pool_check_all_sockets(struct pool *p)
{
	size_t lanes = p->gen->per_slot ? p->target : 1;

	for (unsigned lane = 0; lane < lanes; lane++)
		pool_check_sockets(p, p->gen, lane);
	pool_steer(p);
}

/* Holding the door. */

static bool
has_heir(const struct pool *p, const struct worker *w, const struct listener *l)
{
	/* At the end of the service nobody inherits: all of them empty the queues. */
	for (size_t i = 0; i < p->n_all && !p->stopping; i++) {
		const struct worker *o = p->all[i];

		if (o != w && worker_state(o) == WS_READY && !o->agent_lost &&
		    generation_has_listener(o->gen, l) && lane_at(o, l) == lane_at(w, l))
			return true;
	}
	return false;
}

bool
pool_must_hold(struct pool *p, const struct worker *w)
{
	bool hold = false;

	if (worker_state(w) != WS_READY || w->stopping || w->agent_lost)
		return false;
	for (size_t i = 0; i < w->gen->n_listeners; i++) {
		struct listener *l = w->gen->listeners[i];

		/* What waits at a socket of systemd's is served by the next start. */
		if (!l->is_ours || has_heir(p, w, l))
			continue;
		hold = true;
		if (p->stopping || !generation_has_listener(p->gen, l))
			lanes_block(l);
	}
	return hold;
}

static bool
may_leave(const struct pool *p, const struct worker *w, uint64_t now)
{
	uint64_t held = now - w->gov.drain_ms;
	bool tcp = false;

	/* What is left of the grace is for those that were accepted last. */
	if (held > w->gen->settings->graceful_timeout_ms / 4 * 3 || w->stopping)
		return true;
	for (size_t i = 0; i < w->gen->n_listeners; i++) {
		struct listener *l = w->gen->listeners[i];

		if (!l->is_ours || has_heir(p, w, l))
			continue;
		tcp = tcp || l->address.kind == ADDRESS_TCP;
		if (listener_has_waiting(lanes_socket(l, lane_at(w, l))))
			return false;
	}
	return !tcp || held >= HANDSHAKE_MS;
}

static void
on_hold(struct ev_loop *loop, ev_timer *t, int revents UNUSED)
{
	struct pool *p = container_of(t, struct pool, holding);
	uint64_t now = clock_now_ms();
	size_t held = 0;

	for (size_t i = 0; i < p->n_all; i++) {
		struct worker *w = p->all[i];

		if (!w->holds || worker_state(w) != WS_DRAINING)
			continue;
		if (may_leave(p, w, now))
			worker_release(w);
		else
			held++;
	}
	if (held > 0)
		return;
	ev_timer_stop(loop, t);
	pool_wake(p);
}

void
pool_hold_start(struct pool *p)
{
	pool_steer(p);
	if (ev_is_active(&p->holding))
		return;
	ev_timer_init(&p->holding, on_hold, HOLD_LOOK_SECONDS, HOLD_LOOK_SECONDS);
	ev_timer_start(p->loop, &p->holding);
}

/* Addresses that a reload has taken away. */

void
pool_note_leaving(struct pool *p, const struct generation *old)
{
	struct listener **v = reallocarray(p->leaving, p->n_leaving + old->n_listeners + 1,
	    sizeof *v);

	if (v == NULL) {
		log_error("out of memory: removed addresses stay open until the old workers end");
		return;
	}
	p->leaving = v;
	for (size_t i = 0; i < old->n_listeners; i++)
		if (!generation_has_listener(p->gen, old->listeners[i]))
			v[p->n_leaving++] = listener_ref(old->listeners[i]);
}

static bool
is_served(const struct pool *p, const struct listener *l)
{
	for (size_t i = 0; i < p->n_all; i++) {
		const struct worker *w = p->all[i];
		enum worker_state s = worker_state(w);

		if ((s == WS_READY || s == WS_STARTING || (s == WS_DRAINING && w->holds)) &&
		    generation_has_listener(w->gen, l))
			return true;
	}
	return false;
}

/* An address is given up once no worker serves it: shutting it down earlier would make
 * accept() fail in those that do, and a server that draws breath there may die of it. */
void
pool_check_leaving(struct pool *p)
{
	for (size_t i = p->n_leaving; i > 0; i--) {
		struct listener *l = p->leaving[i - 1];
		bool wanted = generation_has_listener(p->gen, l);

		if (!wanted && is_served(p, l))
			continue;
		if (!wanted) {
			log_info("no longer listening on %s", l->address.text);
			lanes_shrink(l, 1);
			listener_shutdown(l);
		}
		listener_unref(l);
		p->leaving[i - 1] = p->leaving[--p->n_leaving];
	}
}

void
pool_block_all(struct pool *p)
{
	for (size_t i = 0; i < p->gen->n_listeners; i++)
		lanes_block(p->gen->listeners[i]);
	for (size_t i = 0; i < p->n_leaving; i++)
		lanes_block(p->leaving[i]);
}
