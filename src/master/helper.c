/*
 * helper.c - see helper.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/helper.h"

#include "base/log.h"
#include "master/launch.h"
#include "model/lifecycle.h"
#include "model/values.h"
#include "system/clock.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#define STABLE_MS UINT64_C(60000)

static void on_retry(struct ev_loop *loop, ev_timer *t, int revents);

void
helper_init(struct helper *h, struct ev_loop *loop, struct control *control)
{
	*h = (struct helper){ .loop = loop, .control = control };
	ev_init(&h->retry, on_retry);
}

static void
retry_later(struct helper *h, const char *why)
{
	uint64_t delay = backoff_ms(++h->failures);
	char text[32];

	value_human_time(delay, text, sizeof text);
	log_warn("preforkd-http: %s; tried again in %s", why, text);
	ev_timer_stop(h->loop, &h->retry);
	ev_timer_set(&h->retry, (double)delay / 1000.0, 0.);
	ev_timer_start(h->loop, &h->retry);
}

static int
open_listener(struct helper *h, struct err *e)
{
	const struct listen_options options = {
		.backlog = 64, .mode = 0666, .uid = (uid_t)-1, .gid = (gid_t)-1,
	};
	struct address a;
	int r;

	if (h->listener != NULL)
		return 0;
	r = address_parse(h->gen->settings->status_listen, NULL, &a, e);
	return r < 0 ? r : listener_open(&a, &options, &h->listener, e);
}

static void
start(struct helper *h)
{
	AUTO_CLOSE int theirs = -1;
	struct err e;
	int fds[2], r;
	pid_t pid;

	if (open_listener(h, &e) < 0) {
		retry_later(h, e.text);
		return;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
		retry_later(h, strerror(errno));
		return;
	}
	theirs = fds[1];
	pid = launch_http(h->gen, theirs, &h->listener->fd, 1, &e);
	if (pid < 0) {
		close(fds[0]);
		retry_later(h, e.text);
		return;
	}
	h->pid = pid;
	h->started_ms = clock_now_ms();
	h->replacing = false;
	r = control_adopt(h->control, fds[0]);
	if (r < 0)
		log_error("preforkd-http: %s", strerror(-r));
	log_info("status page on %s, preforkd-http pid %d", h->listener->address.text, (int)pid);
}

static void
on_retry(struct ev_loop *loop UNUSED, ev_timer *t, int revents UNUSED)
{
	struct helper *h = container_of(t, struct helper, retry);

	if (h->pid == 0 && h->gen != NULL)
		start(h);
}

void
helper_stop(struct helper *h)
{
	ev_timer_stop(h->loop, &h->retry);
	if (h->pid != 0) {
		/* It has been started by us and not been reaped. */
		(void)reap_signal(h->pid, SIGKILL);
		h->replacing = true;
	}
	listener_unref(TAKE_PTR(h->listener));
	generation_unref(TAKE_PTR(h->gen));
}

void
helper_apply(struct helper *h, struct generation *gen)
{
	const char *now = gen->settings->status_listen;
	bool same = h->gen != NULL && now != NULL && h->gen->settings->status_listen != NULL &&
	    strcmp(now, h->gen->settings->status_listen) == 0;

	if (same) {
		generation_unref(h->gen);
		h->gen = generation_ref(gen);
		return;
	}
	helper_stop(h);
	h->failures = 0;
	if (now == NULL)
		return;
	h->gen = generation_ref(gen);
	if (h->pid == 0)
		start(h);
}

bool
helper_reaped(struct helper *h, const struct death *d)
{
	char how[80];

	if (h->pid == 0 || d->pid != h->pid)
		return false;
	h->pid = 0;
	if (h->gen == NULL)
		return true;
	if (h->replacing) {
		h->replacing = false;
		start(h);
		return true;
	}
	if (clock_now_ms() - h->started_ms > STABLE_MS)
		h->failures = 0;
	death_describe(d, how, sizeof how);
	retry_later(h, how);
	return true;
}
