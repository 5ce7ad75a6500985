/*
 * pool_hold.c - nobody leaves a listening socket behind with connections in its queue.
 *
 * Before a worker is told to stop accepting, somebody else must accept from the same socket, or be
 * about to in the place of one that did not wait, or nothing may wait there: where none of this is
 * so the worker holds the door. It is draining then, its responses close their connections, new
 * ones are kept away, and it accepts on until the queue is empty.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/pool.h"

#include "system/clock.h"
#include "system/lanes.h"

#define HOLD_LOOK_SECONDS .02

/* A handshake that had begun when new connections were kept away needs a round trip more. */
#define HANDSHAKE_MS       UINT64_C(200)
/* Or, of a client that is not on this machine, until its lost packet was sent again. */
#define HANDSHAKE_FAR_MS   UINT64_C(1200)

static bool
has_heir(const struct pool *p, const struct worker *w, const struct listener *l)
{
	/* At the end of the service nobody inherits: all of them empty the queues. */
	for (size_t i = 0; i < p->n_all && !p->stopping; i++) {
		const struct worker *o = p->all[i];

		if (o != w && (worker_state(o) == WS_READY || pool_is_let_in(o)) && !o->agent_lost &&
		    generation_has_listener(o->gen, l) && pool_lane_at(o, l) == pool_lane_at(w, l))
			return true;
	}
	return false;
}

/* By the current generation, or by the one that is tried. */
static bool
is_wanted(const struct pool *p, const struct listener *l)
{
	return generation_has_listener(p->gen, l) ||
	    (p->canary != NULL && generation_has_listener(p->canary->gen, l));
}

/* Other lanes still have workers, and get the new connections. */
static bool
has_other_lane(const struct pool *p, const struct worker *w, const struct listener *l)
{
	for (size_t i = 0; i < p->n_all; i++)
		if (p->all[i] != w && worker_state(p->all[i]) == WS_READY &&
		    generation_has_listener(p->all[i]->gen, l))
			return true;
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
		if (p->stopping || (!is_wanted(p, l) && !has_other_lane(p, w, l)))
			lanes_block(l);
	}
	return hold;
}

/* What is left of the grace is for those that were accepted last. */
static bool
is_over(const struct worker *w, uint64_t held)
{
	return held > w->gen->settings->graceful_timeout_ms / 4 * 3;
}

static bool
may_leave(const struct pool *p, const struct worker *w, uint64_t now)
{
	uint64_t held = now - w->gov.drain_ms;
	uint64_t handshake = 0;

	if (is_over(w, held) || w->stopping)
		return true;
	for (size_t i = 0; i < w->gen->n_listeners; i++) {
		struct listener *l = w->gen->listeners[i];

		if (!l->is_ours || has_heir(p, w, l))
			continue;
		if (l->address.kind == ADDRESS_TCP)
			handshake = MAX_OF(handshake, address_is_loopback(&l->address)
			    ? HANDSHAKE_MS : HANDSHAKE_FAR_MS);
		if (listener_has_waiting(lanes_socket(l, pool_lane_at(w, l))))
			return false;
	}
	return held >= handshake;
}

/* Nobody accepts any more. */
static bool
all_closed(const struct pool *p)
{
	for (size_t i = 0; i < p->n_all; i++) {
		const struct worker *w = p->all[i];

		if (worker_state_is_alive(worker_state(w)) && w->gen->has_agent && !w->agent_lost &&
		    !w->stopping)
			return false;
	}
	return true;
}

/* Who comes now is told at once, and may go elsewhere. */
static void
shut_down_all(struct pool *p)
{
	for (size_t i = 0; i < p->gen->n_listeners; i++) {
		struct listener *l = p->gen->listeners[i];

		for (unsigned lane = 0; l->is_ours && lane < lanes_count(l); lane++)
			listener_shutdown(lanes_socket(l, lane));
	}
}

static void
on_hold(struct ev_loop *loop, ev_timer *t, int revents UNUSED)
{
	struct pool *p = container_of(t, struct pool, holding);
	uint64_t now = clock_now_ms();
	size_t held = 0;

	for (size_t i = 0; i < p->n_all; i++) {
		struct worker *w = p->all[i];

		if (p->stopping && worker_state(w) == WS_STARTING &&
		    is_over(w, now - p->stop_ms)) {
			worker_handle(w, WE_DRAIN, REASON_STOP);
			continue;
		}
		if (!w->holds || worker_state(w) != WS_DRAINING)
			continue;
		if (may_leave(p, w, now))
			worker_release(w);
		else
			held++;
	}
	if (held > 0 || (p->stopping && !all_closed(p)))
		return;
	if (p->stopping)
		shut_down_all(p);
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

/* A generation that has not committed yet has asked for it again. */
static bool
is_asked_for(const struct pool *p, const struct listener *l)
{
	for (size_t i = 0; i < p->n_molds; i++)
		if (p->molds[i]->is_candidate && generation_has_listener(p->molds[i]->gen, l))
			return true;
	return p->canary != NULL && generation_has_listener(p->canary->gen, l);
}

/* An address is given up once no worker serves it: shutting it down earlier would make
 * accept() fail in those that do, and a server that draws breath there may die of it. */
void
pool_check_leaving(struct pool *p)
{
	for (size_t i = p->n_leaving; i > 0; i--) {
		struct listener *l = p->leaving[i - 1];
		bool wanted = generation_has_listener(p->gen, l);

		if (!wanted && (is_served(p, l) || is_asked_for(p, l)))
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
