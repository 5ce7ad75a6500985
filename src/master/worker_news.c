/*
 * worker_news.c - what a worker says, on its channel and on its notify socket, and what
 * can be seen of a plain command.
 *
 * Everything that comes in is rumour: counts may only grow, texts are cut and cleaned,
 * rubbish is logged once and then counted, a flood is read slowly.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/channel.h"
#include "master/worker.h"

#include "system/lanes.h"
#include "system/clock.h"

#include <string.h>
#include <sys/stat.h>

#define PER_TURN     16		/* datagrams read in one turn of the loop */
#define PER_WINDOW   400	/* datagrams in FLOOD_MS before the reading pauses */
#define FLOOD_MS     UINT64_C(1000)
#define PROBE_SECONDS 0.05

static void
rubbish(struct worker *w, const char *what)
{
	unsigned held;

	if (log_limit_pass(&w->rubbish, clock_now_ms(), &held))
		worker_log(w, LOG_LEVEL_WARN, "sent %s on its channel; ignored (%u more of "
		    "these not logged)", what, held);
}

static void
take_counts(struct worker *w, const struct message *m, uint64_t now)
{
	if ((m->has & MK_REQUESTS) != 0) {
		if (m->requests < w->requests)
			rubbish(w, "a request count that shrinks");
		if (m->requests > w->requests)
			w->moved_ms = now;
		w->requests = MAX_OF(w->requests, m->requests);
		governor_count(&w->gov, w->requests, now);
	}
	if ((m->has & MK_BUSY) != 0) {
		w->in_flight = m->busy;
		w->gov.busy = m->busy > 0;
		if (m->busy == 0)
			w->oldest_ms = 0;
	}
	if ((m->has & MK_CONNECTIONS) != 0) {
		w->tells_connections = true;
		w->connections = (unsigned)MIN_OF(m->connections, UINT64_C(1000000));
	}
	if ((m->has & MK_OLDEST) != 0) {
		uint64_t at = m->oldest_usec / USEC_PER_MSEC;

		/* A start in the future would switch request-timeout off. */
		w->oldest_ms = m->oldest_usec == 0 ? 0 : MIN_OF(MAX_OF(at, (uint64_t)1), now);
	}
}

static void
take_report(struct worker *w, const struct message *m)
{
	AUTO_FREE char *text = NULL;

	if (w->report_id == 0 || m->report != w->report_id)
		return;
	if ((m->has & MK_TEXT) != 0) {
		text = message_clean(m->text, m->text_len, MESSAGE_MAX);
		if (text != NULL)
			buf_puts(&w->report, text);
	}
	if ((m->has & MK_MORE) == 0 || w->report.failed) {
		uint64_t id = w->report_id;
		AUTO_FREE char *all = NULL;

		w->report.failed = false;
		all = buf_take(&w->report);
		w->report_id = 0;
		w->ops->reported(w->ctx, w, id, all != NULL ? all : "");
	}
}

/* rollup: a descriptor that came along, or -1; *rollup is -1 when it was taken. */
static void
take_message(struct worker *w, const struct message *m, int *rollup)
{
	uint64_t now = clock_now_ms();

	take_counts(w, m, now);
	if ((m->has & MK_SERVER) != 0)
		base_replace(&w->server, message_clean(m->server, m->server_len, WORKER_TEXT_MAX));
	if ((m->has & MK_STATUS) != 0)
		base_replace(&w->status, message_clean(m->status, m->status_len, WORKER_TEXT_MAX));
	if ((m->has & MK_ERROR) != 0)
		base_replace(&w->last_words, message_clean(m->text, m->text_len, MESSAGE_MAX));
	w->is_sync = w->is_sync || (m->has & MK_SYNC) != 0;
	w->prints_stacks = w->prints_stacks || (m->has & MK_STACKS) != 0;
	w->stopping = w->stopping || (m->has & MK_STOPPING) != 0;
	if ((m->has & (MK_WATCHDOG | MK_READY)) != 0) {
		w->last_beat_ms = now;
		w->has_beat = w->has_beat || (m->has & MK_WATCHDOG) != 0;
	}
	if ((m->has & MK_REPORT) != 0)
		take_report(w, m);
	worker_memory_said(w, m);
	if ((m->has & MK_READY) != 0 && *rollup >= 0 && worker_state(w) == WS_STARTING)
		worker_take_rollup(w, TAKE_FD(*rollup));
	if ((m->has & MK_READY) != 0)
		worker_handle(w, WE_READY, REASON_NONE);
	worker_liveness_rearm(w);
	w->ops->news(w->ctx, w);
}

static void
channel_lost(struct worker *w)
{
	ev_io_stop(w->loop, &w->channel_io);
	base_close_p(&w->channel_fd);
	if (w->unborn) {
		w->ops->stillborn(w->ctx, w);
		return;
	}
	if (!worker_state_is_alive(worker_state(w)) || w->agent_lost || !w->gen->has_agent)
		return;
	w->agent_lost = true;
	w->lost_ms = clock_now_ms();
	w->gov.can_trim = false;
	/* What it told last is nobody's knowledge any more. */
	w->in_flight = 0;
	w->gov.busy = false;
	w->oldest_ms = 0;
	/* A worker that ends closes its channel before it can be reaped: no news then. */
	if (worker_state(w) == WS_READY || worker_state(w) == WS_STARTING)
		worker_log(w, LOG_LEVEL_DEBUG, "closed its channel");
}

/* The datagram is one of its own or of a child of its. */
static bool
is_from_worker(const struct worker *w, const struct channel_sender *sender)
{
	pid_t group;

	if (sender->pid == w->pid)
		return true;
	group = getpgid(sender->pid);
	if (group >= 0)
		return group == w->pid;
	/* systemd-notify(1) and its like are gone before anybody can look. */
	return sender->uid == (w->gen->has_ids ? w->gen->uid : geteuid());
}

/* The kernel has named the sender. Only a child of ours that nobody knows yet can be the one
 * that was asked for; its mold may say why there will be none. */
static void
take_first_word(struct worker *w, const struct message *m, pid_t sender)
{
	if ((m->has & MK_BORN) != 0 && reap_is_child(sender) &&
	    !w->ops->is_known(w->ctx, sender))
		worker_born(w, sender);
	else if ((m->has & MK_ERROR) != 0)
		base_replace(&w->last_words, message_clean(m->text, m->text_len, MESSAGE_MAX));
	else
		rubbish(w, "(or somebody in its name) a message before its first one");
}

/* 0 when nothing more waits, 1 after one datagram. */
static int
read_one(struct worker *w, int fd, bool is_notify)
{
	char data[MESSAGE_MAX];
	struct channel_sender sender;
	AUTO_CLOSE int passed = -1;
	struct message m;
	ssize_t n;

	n = channel_recv_fd(fd, data, sizeof data, is_notify || w->unborn ? &sender : NULL,
	    is_notify || w->unborn ? NULL : &passed);
	if (n == -EAGAIN)
		return 0;
	if (n == -EMSGSIZE) {
		rubbish(w, "a message that is too long");
		return 1;
	}
	if (n < 0) {
		if (!is_notify)
			channel_lost(w);
		return 0;
	}
	if (is_notify && !is_from_worker(w, &sender)) {
		rubbish(w, "(or somebody in its name) a message of another process");
		return 1;
	}
	if (message_parse(data, (size_t)n, &m) < 0) {
		rubbish(w, "rubbish");
		return 1;
	}
	if (w->unborn)
		take_first_word(w, &m, sender.pid);
	else
		take_message(w, &m, &passed);
	return 1;
}

/* True when the reading has to pause. */
static bool
is_flood(struct worker *w)
{
	uint64_t now = clock_now_ms();

	if (now - w->flood_window_ms >= FLOOD_MS) {
		w->flood_window_ms = now;
		w->flood_n = 0;
	}
	return ++w->flood_n > PER_WINDOW;
}

static void
read_some(struct worker *w, bool is_notify)
{
	for (int i = 0; i < PER_TURN; i++) {
		int fd = is_notify ? w->notify_fd : w->channel_fd;

		if (fd < 0)
			return;
		if (is_flood(w)) {
			rubbish(w, "a flood of messages");
			ev_io_stop(w->loop, &w->channel_io);
			ev_io_stop(w->loop, &w->notify_io);
			ev_timer_set(&w->resume, (double)FLOOD_MS / 1000.0, 0.);
			ev_timer_start(w->loop, &w->resume);
			return;
		}
		if (read_one(w, fd, is_notify) == 0)
			return;
	}
}

static void
on_channel(struct ev_loop *loop UNUSED, ev_io *io, int revents UNUSED)
{
	read_some(container_of(io, struct worker, channel_io), false);
}

static void
on_notify(struct ev_loop *loop UNUSED, ev_io *io, int revents UNUSED)
{
	read_some(container_of(io, struct worker, notify_io), true);
}

static void
on_resume(struct ev_loop *loop, ev_timer *t, int revents UNUSED)
{
	struct worker *w = container_of(t, struct worker, resume);

	if (w->channel_fd >= 0)
		ev_io_start(loop, &w->channel_io);
	if (w->notify_fd >= 0)
		ev_io_start(loop, &w->notify_io);
}

void
worker_channel_start(struct worker *w)
{
	w->rubbish = (struct log_limit){ .burst = 1, .interval_ms = 10 * MSEC_PER_SEC };
	ev_init(&w->resume, on_resume);
	ev_io_init(&w->channel_io, on_channel, w->channel_fd, EV_READ);
	ev_io_start(w->loop, &w->channel_io);
	ev_io_init(&w->notify_io, on_notify, w->notify_fd, EV_READ);
	if (w->notify_fd >= 0)
		ev_io_start(w->loop, &w->notify_io);
}

void
worker_channel_stop(struct worker *w)
{
	if (w->channel_fd >= 0)
		ev_io_stop(w->loop, &w->channel_io);
	if (w->notify_fd >= 0)
		ev_io_stop(w->loop, &w->notify_io);
	ev_timer_stop(w->loop, &w->resume);
	base_close_p(&w->channel_fd);
	base_close_p(&w->notify_fd);
}

void
worker_channel_drain(struct worker *w)
{
	/* At most what a socket buffer holds; a flooding worker may refill it for ever. */
	for (int i = 0; i < 512 && w->channel_fd >= 0; i++)
		if (read_one(w, w->channel_fd, false) == 0)
			break;
	for (int i = 0; i < 512 && w->notify_fd >= 0; i++)
		if (read_one(w, w->notify_fd, true) == 0)
			break;
}

static bool
polls_a_listener(const struct worker *w)
{
	for (size_t i = 0; i < w->gen->n_listeners; i++) {
		struct stat st;

		if (fstat(lanes_socket(w->gen->listeners[i], w->lane)->fd, &st) == 0 &&
		    procmem_polls_inode(w->pid, st.st_ino) == 1)
			return true;
	}
	return false;
}

static void
on_probe(struct ev_loop *loop, ev_timer *t, int revents UNUSED)
{
	struct worker *w = container_of(t, struct worker, probe);
	const struct ready_setting *ready = &w->gen->settings->ready;

	if (worker_state(w) != WS_STARTING) {
		ev_timer_stop(loop, t);
		return;
	}
	if (ready->how != READY_DELAY && !polls_a_listener(w))
		return;
	ev_timer_stop(loop, t);
	worker_handle(w, WE_READY, REASON_NONE);
	w->ops->news(w->ctx, w);
}

void
worker_probe_start(struct worker *w)
{
	const struct ready_setting *ready = &w->gen->settings->ready;

	if (w->gen->has_agent || ready->how == READY_NOTIFY)
		return;
	ev_init(&w->probe, on_probe);
	ev_now_update(w->loop);
	if (ready->how == READY_DELAY)
		ev_timer_set(&w->probe, (double)ready->delay_ms / 1000.0, 1.);
	else
		ev_timer_set(&w->probe, PROBE_SECONDS, PROBE_SECONDS);
	ev_timer_start(w->loop, &w->probe);
}
