/*
 * output.c - see output.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/output.h"

#include "base/buf.h"
#include "base/log.h"
#include "model/message.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static void
remember(struct output *o, const char *data, size_t len)
{
	if (len >= OUTPUT_TAIL_MAX) {
		memcpy(o->tail, data + len - OUTPUT_TAIL_MAX, OUTPUT_TAIL_MAX);
		o->tail_len = OUTPUT_TAIL_MAX;
		return;
	}
	if (o->tail_len + len > OUTPUT_TAIL_MAX) {
		size_t drop = o->tail_len + len - OUTPUT_TAIL_MAX;

		memmove(o->tail, o->tail + drop, o->tail_len - drop);
		o->tail_len -= drop;
	}
	memcpy(o->tail + o->tail_len, data, len);
	o->tail_len += len;
}

static void
emit(struct output *o)
{
	char whole[sizeof o->prefix + OUTPUT_LINE_MAX + 1];
	size_t n = strlen(o->prefix);

	if (o->len == 0)
		return;
	memcpy(whole, o->prefix, n);
	memcpy(whole + n, o->line, o->len);
	n += o->len;
	if (whole[n - 1] != '\n')
		whole[n++] = '\n';
	log_raw(whole, n);
	o->len = 0;
}

static void
take(struct output *o, const char *data, size_t len)
{
	remember(o, data, len);
	for (size_t i = 0; i < len; i++) {
		o->line[o->len++] = data[i];
		if (data[i] == '\n' || o->len == OUTPUT_LINE_MAX)
			emit(o);
	}
}

/* True while there may be more. */
static bool
read_once(struct output *o)
{
	char data[4096];
	ssize_t n = read(o->fd, data, sizeof data);

	if (n > 0) {
		take(o, data, (size_t)n);
		return true;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	/* Closed: the watcher would fire for ever. */
	ev_io_stop(o->loop, &o->io);
	o->eof = true;
	return false;
}

static void
on_readable(struct ev_loop *loop UNUSED, ev_io *io, int revents UNUSED)
{
	read_once(container_of(io, struct output, io));
}

struct output *
output_new(struct ev_loop *loop, int *ret_write)
{
	struct output *o;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return NULL;
	o = calloc(1, sizeof *o);
	if (o == NULL || fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0) {
		int saved = errno;

		free(o);
		close(fds[0]);
		close(fds[1]);
		errno = saved;
		return NULL;
	}
	o->loop = loop;
	o->fd = fds[0];
	ev_io_init(&o->io, on_readable, o->fd, EV_READ);
	ev_io_start(loop, &o->io);
	*ret_write = fds[1];
	return o;
}

void
output_set_prefix(struct output *o, const char *prefix)
{
	snprintf(o->prefix, sizeof o->prefix, "%s", prefix);
}

bool
output_drain(struct output *o)
{
	/* As much as a pipe holds; a grandchild may go on writing for ever. */
	for (int i = 0; i < 16 && read_once(o); i++)
		;
	emit(o);
	return o->eof;
}

char *
output_last_words(const struct output *o, const char *said)
{
	AUTO_BUF struct buf b = BUF_INIT(OUTPUT_TAIL_MAX + 1);

	if (said != NULL && said[0] != '\0')
		return strdup(said);
	if (o != NULL)
		message_text(o->tail, o->tail_len, &b);
	while (b.len > 0 && b.data[b.len - 1] == '\n')
		b.data[--b.len] = '\0';
	b.failed = false;	/* cut, not refused */
	return buf_take(&b);
}

void
output_free(struct output *o)
{
	if (o == NULL)
		return;
	output_drain(o);
	ev_io_stop(o->loop, &o->io);
	close(o->fd);
	free(o);
}
