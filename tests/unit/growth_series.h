/*
 * growth_series.h - made-up workers: a size with noise, and what their memory does.
 *
 * Every number comes from a seed; a test that fails names it.
 */
#ifndef PREFORKD_TEST_GROWTH_SERIES_H
#define PREFORKD_TEST_GROWTH_SERIES_H

#include "model/growth.h"

#include <check.h>
#include <math.h>
#include <string.h>

#define SERIES_MAX 1200
#define MIB        1048576.0

enum shape {
	FLAT, WARM, SAW, WARM_SAW, CACHE, LOG, STEP, WAVES, SPIKES, RAMP, QUIET, DAY,	/* healthy */
	EXPORT, LATE_RAMP, SOCKETS, SOCKET_WAVES,
	LEAK, LEAK_AFTER_WARM, LEAK_IN_TEETH, LATE_LEAK, IDLE_LEAK, SHAPES
};

static const char *const shape_names[SHAPES] = {
	"flat", "warm", "saw", "warm saw", "cache", "log", "step", "waves", "spikes", "ramp",
	"quiet", "day", "export", "late ramp", "sockets", "socket waves",
	"leak", "leak after warm", "leak in teeth", "late leak",
	"idle leak",
};

struct random {
	uint64_t state;
};

/* splitmix64. */
static inline uint64_t
random_next(struct random *r)
{
	uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static inline double
random_between(struct random *r, double low, double high)
{
	return low + (high - low) * (double)(random_next(r) >> 11) / 9007199254740992.0;
}

/* About normal: mean 0, deviation 1. */
static inline double
random_noise(struct random *r)
{
	double sum = -6.0;

	for (int i = 0; i < 12; i++)
		sum += random_between(r, 0.0, 1.0);
	return sum;
}

/* What one worker of a shape is like; sizes in bytes. */
struct made {
	size_t n;
	double dt, rps;
	double base, noise;
	double seconds, requests;
	double amount;		/* of the warm-up, cache or step */
	double leak;		/* for each request, or second when idle */
	struct growth_sample samples[SERIES_MAX];
};

static inline void
make_series(enum shape shape, uint64_t seed, struct made *m)
{
	static const size_t counts[] = { 60, 120, 300, 600 };
	static const double steps[] = { 0.5, 1.0, 1.0, 2.0 }, rates[] = { 5, 20, 100, 500 };
	struct random r = { .state = seed * 1000003 + (uint64_t)shape };
	double drift = 0.0, done = 0.0, late = 0.0, tooth, period, fill, tau, at, phase;
	bool is_leak = shape >= LEAK;

	memset(m, 0, sizeof(*m));
	m->n = counts[random_next(&r) % 4] * (is_leak ? 2 : 1);
	m->dt = steps[random_next(&r) % 4];
	m->rps = rates[random_next(&r) % 4] * (is_leak ? 4 : 1);
	m->seconds = (double)m->n * m->dt;
	m->requests = m->seconds * m->rps;
	m->base = random_between(&r, 25 * MIB, 90 * MIB);
	m->noise = random_between(&r, 0.05 * MIB, 0.8 * MIB);
	m->amount = random_between(&r, 2 * MIB, 60 * MIB);
	tooth = random_between(&r, 2 * MIB, 30 * MIB);
	period = MIN_OF(random_between(&r, 3.0, 40.0), m->seconds / 4.0);
	fill = random_between(&r, 0.1, 0.7);
	tau = random_between(&r, 0.02, 0.3);
	at = random_between(&r, 0.2, 0.75);
	phase = random_between(&r, 0.0, 6.0);
	m->leak = (shape == IDLE_LEAK ? 1.0 / m->seconds : 1.0 / m->requests) *
	    (random_between(&r, 12 * MIB, 40 * MIB) + 0.4 * m->base);
	if (shape == EXPORT || shape == LATE_RAMP)
		late = random_between(&r, 0.6, 0.85);
	if (shape == LATE_LEAK) {
		late = random_between(&r, 0.5, 0.8) * m->requests;
		m->leak *= m->requests / (m->requests - late);
	}
	for (size_t i = 0; i < m->n; i++) {
		struct growth_sample *s = &m->samples[i];
		double t = (double)i * m->dt, part = t / m->seconds;
		double in_flight = random_between(&r, 0.0, 4.0);
		double rate = m->rps * (1.0 + 0.2 * random_noise(&r)), connections = 4.0, y;

		drift = 0.9 * drift + 0.45 * m->noise * random_noise(&r);
		if (shape == QUIET || shape == IDLE_LEAK)
			rate = in_flight = 0.0;
		if (shape == DAY)
			rate *= 0.6 + 0.5 * sin(6.3 * part + phase);
		/* one request builds something large, and nobody else comes */
		if (shape == EXPORT && part > late) {
			rate = 0.0;
			in_flight = 1.0;
		}
		if (shape == SOCKETS || shape == SOCKET_WAVES) {
			rate = i % 20 == 0 ? rate : 0.0;
			in_flight = 0.0;
		}
		done += MAX_OF(rate, 0.0) * m->dt;
		y = m->base + drift;
		if (shape == EXPORT)
			y += m->amount * MAX_OF(part - late, 0.0) / (1.0 - late);
		if (shape == WARM || shape == WARM_SAW || shape == DAY)
			y += m->amount * (1.0 - exp(-done / m->requests / tau));
		if (shape == SAW || shape == WARM_SAW)
			y += tooth * fmod(t / period + phase, 1.0);
		if (shape == CACHE)
			y += m->amount * MIN_OF(1.0, part / fill);
		if (shape == LOG)
			y += m->amount * log(1.0 + 100.0 * part) / log(101.0);
		if (shape == STEP)
			y += part > at ? MAX_OF(m->amount, 24 * MIB) : 0.0;
		if (shape == WAVES)
			in_flight = 10.0 + 9.0 * sin(18.8 * part + phase) + random_noise(&r);
		if (shape == RAMP)
			in_flight = 1.0 + 20.0 * part + random_noise(&r);
		if (shape == LATE_RAMP)
			in_flight = 1.0 + 20.0 * MAX_OF(part - late, 0.0) / (1.0 - late) +
			    0.2 * random_noise(&r);
		if (shape == WAVES || shape == RAMP || shape == LATE_RAMP)
			y += MAX_OF(in_flight, 0.0) * 1.5 * MIB;
		if (shape == SPIKES && random_next(&r) % 20 == 0)
			y += 3.0 * m->amount;
		if (shape == LEAK_AFTER_WARM)
			y += 0.3 * m->amount * (1.0 - exp(-part / 0.03));
		if (shape == LEAK_IN_TEETH)
			y += 5 * MIB * fmod(t / (m->seconds / 40.0) + phase, 1.0);
		if (shape == IDLE_LEAK)
			y += m->leak * t;
		else if (is_leak)
			y += m->leak * MAX_OF(done - late, 0.0);
		/* more and more of them wait for news, and ask for nothing */
		if (shape == SOCKETS)
			connections = 10.0 + 300.0 * part + random_noise(&r);
		if (shape == SOCKET_WAVES)
			connections = 200.0 + 180.0 * sin(18.8 * part + phase) + random_noise(&r);
		if (shape == SOCKETS || shape == SOCKET_WAVES)
			y += connections * 0.1 * MIB;
		*s = (struct growth_sample){
			.ms = (uint64_t)(t * 1000.0) + 77777, .rss = (uint64_t)MAX_OF(y, MIB),
			.uss = GROWTH_UNKNOWN, .pss = GROWTH_UNKNOWN, .requests = (uint64_t)done,
			.in_flight = (uint64_t)MAX_OF(in_flight, 0.0),
			.fds = 20 + (uint64_t)MAX_OF(in_flight, 0.0) +
			    (uint64_t)MAX_OF(connections, 0.0),
			.connections = (uint64_t)MAX_OF(connections, 0.0),
		};
	}
}

/* As the only worker, without a limit. */
static inline struct growth_series
series_of(const struct made *m)
{
	return (struct growth_series){
		.slot = 1, .serial = 1, .samples = m->samples, .n = m->n,
		.facts = { .workers = 1, .trim_gc = GROWTH_UNKNOWN, .trim_malloc = GROWTH_UNKNOWN },
	};
}

static inline struct growth_verdicts
judge(const struct growth_series *s)
{
	struct growth_verdicts v;

	ck_assert_int_eq(growth_judge(s, &v), 0);
	ck_assert_uint_le(v.n, GROWTH_N);
	return v;
}

static inline bool
has_leak(const struct growth_verdicts *v)
{
	for (size_t i = 0; i < v->n; i++)
		if (growth_is_leak(v->v[i].kind))
			return true;
	return false;
}

static inline struct growth_sample
sample(double seconds, double mib, uint64_t requests, uint64_t in_flight)
{
	return (struct growth_sample){
		.ms = (uint64_t)(seconds * 1000.0), .rss = (uint64_t)(mib * MIB),
		.uss = GROWTH_UNKNOWN, .pss = GROWTH_UNKNOWN, .requests = requests,
		.in_flight = in_flight, .fds = GROWTH_UNKNOWN,
	};
}

#endif
