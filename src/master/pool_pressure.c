/*
 * pool_pressure.c - when processes have to wait for memory, everything is looked at at once.
 *
 * The kernel tells through a trigger, or where it allows none, its averages are asked for with
 * each look at the memory. Pressure alone is nobody's fault: it replaces no worker.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/pool.h"

#include "system/clock.h"
#include "system/pressure.h"

#define EPISODE_MS UINT64_C(10000)	/* without news it is over */
#define RETRY_MS   UINT64_C(60000)

static void
note(struct pool *p, uint64_t now)
{
	if (!pool_is_pressed(p, now))
		log_info("memory pressure: processes wait for memory");
	p->pressed_ms = MAX_OF(now, (uint64_t)1);
}

bool
pool_is_pressed(const struct pool *p, uint64_t now)
{
	return p->pressed_ms != 0 && now - p->pressed_ms < EPISODE_MS;
}

static void
on_pressure(struct ev_loop *loop, ev_io *io, int revents UNUSED)
{
	struct pool *p = container_of(io, struct pool, pressing);
	uint64_t now = clock_now_ms();
	int r = pressure_take(&p->pressure);

	if (r < 0) {
		ev_io_stop(loop, io);
		pressure_close(&p->pressure);
		p->pressure_retry_ms = now + RETRY_MS;
	}
	if (r <= 0)
		return;
	note(p, now);
	pool_sample_all(p);
}

static void
open_again(struct pool *p)
{
	p->pressure_retry_ms = UINT64_MAX;
	if (pressure_open(&p->pressure) < 0 || p->pressure.fd < 0)
		return;
	ev_io_init(&p->pressing, on_pressure, p->pressure.fd, EV_READ);
	ev_io_start(p->loop, &p->pressing);
}

void
pool_pressure_tick(struct pool *p, uint64_t now)
{
	struct proctext_pressure is;

	if (p->pressure.file_fd < 0 && now >= p->pressure_retry_ms)
		open_again(p);
	if (p->pressure.fd >= 0 || p->pressure.file_fd < 0 ||
	    pressure_read(&p->pressure, &is) < 0)
		return;
	if (is.avg10 >= PRESSURE_AVG10)
		note(p, now);
}

void
pool_pressure_stop(struct pool *p)
{
	ev_io_stop(p->loop, &p->pressing);
	pressure_close(&p->pressure);
}
