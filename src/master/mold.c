/*
 * mold.c - see mold.h.
 *
 * What comes in is rumour here as well: a few datagrams are read in a turn, texts are cut and
 * cleaned, and only the states below can follow from them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/mold.h"

#include "base/buf.h"
#include "master/channel.h"
#include "master/launch.h"
#include "master/worker.h"
#include "model/message.h"
#include "model/values.h"
#include "system/clock.h"
#include "system/lanes.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define PER_TURN 16
#define READ_MAX 512

static void on_channel(struct ev_loop *loop, ev_io *io, int revents);
static void on_deadline(struct ev_loop *loop, ev_timer *t, int revents);

struct log_about
mold_about(const struct mold *m)
{
	return (struct log_about){ .pid = m->pid, .generation = m->gen->number };
}

char *
mold_last_words(const struct mold *m)
{
	return output_last_words(m->err, m->last_words);
}

/* 0: none. */
static void
arm(struct mold *m, uint64_t after_ms)
{
	ev_timer_stop(m->loop, &m->deadline);
	if (after_ms == 0)
		return;
	m->deadline_ms = clock_now_ms() + after_ms;
	ev_now_update(m->loop);
	ev_timer_set(&m->deadline, (double)after_ms / 1000.0, 0.);
	ev_timer_start(m->loop, &m->deadline);
}

/* For one fork, or the next of many: less than the worker has for all of its boot. */
static uint64_t
hang_ms(const struct mold *m)
{
	uint64_t boot = m->gen->settings->boot_timeout_ms;

	return boot == 0 ? MOLD_HANG_MS : MIN_OF(boot / 2, MOLD_HANG_MS);
}

/* Start. */

static pid_t
launch(struct mold *m, int channel, int err_pipe, int out_pipe, struct err *e)
{
	const struct worker_log_setting *log = &m->gen->settings->worker_log;
	bool file = log->how == WORKER_LOG_FILE;
	const struct launch l = {
		.gen = m->gen,
		.is_mold = true,
		.channel_fd = channel,
		.stdout_fd = file ? m->gen->log_fd : out_pipe,
		.stderr_fd = err_pipe,
		.real_stderr_fd = log->how == WORKER_LOG_PREFIX ? -1 : file ? m->gen->log_fd : 2,
	};

	return launch_worker(&l, e);
}

static int
spawn_mold(struct mold *m, struct err *e)
{
	bool prefix = m->gen->settings->worker_log.how == WORKER_LOG_PREFIX;
	AUTO_CLOSE int channel = -1, err_pipe = -1, out_pipe = -1;
	char name[48];
	int r = channel_pair(&m->channel_fd, &channel);

	if (r < 0)
		return err_sys(e, -r, "cannot make its channel");
	m->err = output_new(m->loop, &err_pipe);
	if (m->err == NULL)
		return err_sys(e, errno, "cannot make a pipe for its stderr");
	if (prefix)
		m->out = output_new(m->loop, &out_pipe);
	if (prefix && m->out == NULL)
		return err_sys(e, errno, "cannot make a pipe for its stdout");
	m->pid = launch(m, channel, err_pipe, out_pipe, e);
	if (m->pid < 0)
		return (int)m->pid;
	if (prefix) {
		snprintf(name, sizeof name, "mold pid %d: ", (int)m->pid);
		output_set_prefix(m->out, name);
		output_set_prefix(m->err, name);
	}
	return 0;
}

struct mold *
mold_new(struct ev_loop *loop, const struct mold_ops *ops, void *ctx, struct generation *gen,
    struct err *e)
{
	struct mold *m = calloc(1, sizeof *m);

	if (m == NULL) {
		err_sys(e, ENOMEM, "mold");
		return NULL;
	}
	*m = (struct mold){
		.loop = loop, .ops = ops, .ctx = ctx, .gen = generation_ref(gen),
		.channel_fd = -1, .mem = PROCMEM_NONE, .spawned_ms = clock_now_ms(),
	};
	ev_init(&m->deadline, on_deadline);
	ev_init(&m->channel_io, on_channel);
	if (spawn_mold(m, e) < 0) {
		mold_free(m);
		return NULL;
	}
	ev_io_set(&m->channel_io, m->channel_fd, EV_READ);
	ev_io_start(loop, &m->channel_io);
	arm(m, gen->settings->boot_timeout_ms);
	mold_log(m, LOG_LEVEL_DEBUG, "mold starts");
	return m;
}

static void
close_channel(struct mold *m)
{
	if (m->channel_fd >= 0)
		ev_io_stop(m->loop, &m->channel_io);
	base_close_p(&m->channel_fd);
}

void
mold_free(struct mold *m)
{
	if (m == NULL)
		return;
	close_channel(m);
	ev_timer_stop(m->loop, &m->deadline);
	procmem_close(&m->mem);
	output_free(m->out);
	output_free(m->err);
	free(m->last_words);
	free(m->server);
	generation_unref(m->gen);
	free(m);
}

/* What it says. */

static void
become_ready(struct mold *m, bool forks)
{
	uint64_t now = clock_now_ms();
	const char *words = m->gen->mold_words;
	char took[32];

	m->state = forks ? MOLD_READY : MOLD_ENDING;
	m->ready_ms = now;
	m->gen->starts = forks ? STARTS_BY_FORK : STARTS_BY_EXEC;
	value_human_time(now - m->spawned_ms, took, sizeof took);
	mold_log(m, LOG_LEVEL_INFO, "mold %s after %s%s%s%s%s", forks ? "ready" : "has looked",
	    took, m->server != NULL ? ", " : "", m->server != NULL ? m->server : "",
	    words != NULL ? "; " : "", words != NULL ? words : "");
	/* Its real stderr is back in place, or with `prefix` the pipe stays. */
	if (m->err != NULL && output_drain(m->err)) {
		output_free(m->err);
		m->err = NULL;
	}
	arm(m, forks ? 0 : MOLD_END_MS);
	m->ops->ready(m->ctx, m);
}

/* rollup: a descriptor that came along, or -1; *rollup is -1 when it was taken. */
static void
take_message(struct mold *m, const struct message *msg, int *rollup)
{
	if ((msg->has & MK_SERVER) != 0)
		base_replace(&m->server, message_clean(msg->server, msg->server_len,
		    WORKER_TEXT_MAX));
	if ((msg->has & MK_ERROR) != 0)
		base_replace(&m->last_words, message_clean(msg->text, msg->text_len,
		    MESSAGE_MAX));
	else if ((msg->has & MK_TEXT) != 0)
		base_replace(&m->gen->mold_words, message_clean(msg->text, msg->text_len, MESSAGE_MAX));
	if ((msg->has & MK_READY) != 0 && m->state == MOLD_BOOTING && *rollup >= 0)
		/* Otherwise it is measured where this process may look, or not at all. */
		(void)procmem_adopt_rollup(&m->mem, m->pid, TAKE_FD(*rollup));
	if ((msg->has & MK_READY) != 0 && m->state == MOLD_BOOTING)
		become_ready(m, (msg->has & MK_FORKS) != 0);
}

/* 0 when nothing more waits. */
static int
read_one(struct mold *m)
{
	char data[MESSAGE_MAX];
	AUTO_CLOSE int passed = -1;
	struct message msg;
	ssize_t n;

	if (m->channel_fd < 0)
		return 0;
	n = channel_recv_fd(m->channel_fd, data, sizeof data, NULL, &passed);
	if (n == -EAGAIN)
		return 0;
	if (n == -EMSGSIZE)
		return 1;
	if (n < 0) {
		/* It ends, or has lost its way: without a channel it is of no use. */
		close_channel(m);
		if (m->state != MOLD_ENDING)
			arm(m, MOLD_END_MS);
		return 0;
	}
	if (message_parse(data, (size_t)n, &msg) >= 0)
		take_message(m, &msg, &passed);
	return 1;
}

static void
on_channel(struct ev_loop *loop UNUSED, ev_io *io, int revents UNUSED)
{
	struct mold *m = container_of(io, struct mold, channel_io);

	for (int i = 0; i < PER_TURN && read_one(m) > 0; i++)
		;
}

/* At most what a socket holds: a flooding one may refill it for ever. */
static void
read_all(struct mold *m)
{
	for (int i = 0; i < READ_MAX && read_one(m) > 0; i++)
		;
}

bool
mold_is_there(struct mold *m)
{
	read_all(m);
	return mold_is_ready(m);
}

/* Deadlines. */

void
mold_kill(struct mold *m)
{
	int r = reap_signal_group(m->pid, SIGKILL);

	/* Its group exists from its own setpgid() on only. */
	if (r < 0)
		(void)reap_signal(m->pid, SIGKILL);
}

static void
on_deadline(struct ev_loop *loop UNUSED, ev_timer *t, int revents UNUSED)
{
	struct mold *m = container_of(t, struct mold, deadline);
	uint64_t late = clock_now_ms() - m->deadline_ms;
	enum mold_state state = m->state;
	unsigned owed = m->owed;
	char text[32];

	/* The master itself stood still; what the mold did in time has not been read yet. */
	if (late > WORKER_LATE_MS && state != MOLD_ENDING) {
		arm(m, MIN_OF(late, 5 * MSEC_PER_SEC));
		return;
	}
	read_all(m);
	if (m->state != state)
		return;
	if (state == MOLD_BOOTING && m->channel_fd >= 0) {
		m->timed_out = true;
		mold_log(m, LOG_LEVEL_ERROR, "mold not ready within boot-timeout; it is killed");
	} else if (state == MOLD_READY && m->channel_fd >= 0) {
		value_human_time(hang_ms(m), text, sizeof text);
		mold_log(m, LOG_LEVEL_ERROR, "mold has not forked a worker for %s, %u are waited "
		    "for; it is killed", text, owed);
	}
	mold_kill(m);
	/* Again, in case the kernel cannot end it yet. */
	arm(m, MOLD_END_MS);
}

/* Forks. */

int
mold_fork(struct mold *m, const struct mold_order *o, struct err *e)
{
	AUTO_BUF struct buf b = BUF_INIT(512);
	int fds[CHANNEL_FDS_MAX];
	size_t n = 0;
	int r;

	if (!mold_is_ready(m))
		return err_set(e, EPIPE, "the mold is gone");
	fds[n++] = o->channel_fd;
	buf_printf(&b, "FORK=%u,%llu,%u\n", o->slot, (unsigned long long)o->serial, o->worker_id);
	message_put_number(&b, "LIMITS", o->limit_requests);
	if (o->stderr_fd >= 0) {
		fds[n++] = o->stderr_fd;
		message_put_number(&b, "STDERR", o->keeps_stderr ? 2 : 1);
	}
	if (o->stdout_fd >= 0) {
		fds[n++] = o->stdout_fd;
		message_put_number(&b, "STDOUT", 1);
	}
	message_put_number(&b, "SOCKETS", m->gen->n_listeners);
	for (size_t i = 0; i < m->gen->n_listeners; i++)
		fds[n++] = lanes_socket(m->gen->listeners[i], o->lane)->fd;
	if (b.failed)
		return err_sys(e, ENOMEM, "cannot ask the mold");
	r = channel_send_fds(m->channel_fd, b.data, b.len, fds, n);
	if (r < 0)
		return err_sys(e, -r, "cannot ask the mold (pid %d)", (int)m->pid);
	if (m->owed++ == 0)
		arm(m, hang_ms(m));
	return 0;
}

void
mold_answered(struct mold *m, bool born)
{
	m->forked += born;
	if (m->owed > 0)
		m->owed--;
	if (m->state == MOLD_READY && m->channel_fd >= 0)
		arm(m, m->owed > 0 ? hang_ms(m) : 0);
}

/* End. */

void
mold_end(struct mold *m)
{
	if (m->state == MOLD_ENDING)
		return;
	/* It does not look at its channel while it imports. */
	if (m->state == MOLD_BOOTING)
		(void)reap_signal(m->pid, SIGTERM);
	m->state = MOLD_ENDING;
	/* It ends when it has read what it was sent before. */
	close_channel(m);
	arm(m, MOLD_END_MS);
}

void
mold_reaped(struct mold *m)
{
	read_all(m);
	close_channel(m);
	ev_timer_stop(m->loop, &m->deadline);
	if (m->err != NULL)
		output_drain(m->err);
	if (m->out != NULL)
		output_drain(m->out);
}

void
mold_reopen_log(struct mold *m)
{
	static const char reopen[] = "REOPEN=1\n";

	if (m->channel_fd >= 0)
		/* One that cannot take it now keeps the old file: no harm. */
		(void)channel_send(m->channel_fd, reopen, sizeof reopen - 1, m->gen->log_fd);
}
