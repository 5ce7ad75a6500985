/*
 * control_rig.c - a control socket with a real loop, fake commands, and clients.
 */
#include "control_rig.h"

#include "own_files.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

struct ev_loop *loop;
struct control *control;
char folder[OWN_PATH_MAX];
char path[128];

struct asked asked;
char logged[4096];

static json_t *
fake_status(void *ctx)
{
	char *text = calloc(1, asked.status_bytes + 1);
	json_t *o;

	ck_assert_ptr_eq(ctx, &asked);
	ck_assert_ptr_nonnull(text);
	memset(text, 's', asked.status_bytes);
	o = json_pack("{s:s, s:s}", "state", "running", "text", text);
	free(text);
	return o;
}

static void
note(const char *what, control_call_id id, unsigned number, bool flag)
{
	snprintf(asked.what, sizeof(asked.what), "%s", what);
	asked.id = id;
	asked.number = number;
	asked.flag = flag;
	asked.n++;
}

static void
fake_reload(void *ctx UNUSED, control_call_id id)
{
	note("reload", id, 0, false);
}

static void
fake_recycle(void *ctx UNUSED, control_call_id id, unsigned slot, bool wait)
{
	note("recycle", id, slot, wait);
	if (slot > 4)
		control_error(control, id, "NoSuchSlot", "no such slot", NULL);
	else if (!wait)
		control_reply(control, id, NULL);
}

static void
fake_scale(void *ctx UNUSED, control_call_id id, unsigned workers)
{
	note("scale", id, workers, false);
	if (workers > 100)
		control_error(control, id, "Refused", "too many", NULL);
	else
		control_reply(control, id, NULL);
}

static void
fake_stop(void *ctx UNUSED, control_call_id id, bool quick)
{
	note("stop", id, 0, quick);
	control_reply(control, id, NULL);
}

static void
fake_report(void *ctx UNUSED, control_call_id id, unsigned slot, bool memory, unsigned seconds)
{
	note("report", id, slot + 1000 * seconds, memory);
	control_reply(control, id, json_pack("{s:s}", "text", "stacks"));
}

static json_t *
fake_memory(void *ctx, uint64_t *cursor, bool *ret_last)
{
	json_t *worker;

	note("memory", 0, (unsigned)*cursor, false);
	if (asked.parts == UINT_MAX)
		return NULL;
	*ret_last = *cursor == asked.parts;
	if (*ret_last)
		return json_pack("{s:{}}", "facts");
	worker = fake_status(ctx);
	(void)json_object_set_new(worker, "serial", json_integer((json_int_t)++*cursor));
	return json_pack("{s:o}", "worker", worker);
}

const struct control_ops rig_ops = {
	.status = fake_status, .reload = fake_reload, .recycle = fake_recycle,
	.scale = fake_scale, .stop = fake_stop, .report = fake_report,
	.memory = fake_memory,
};

static void
on_log_line(void *ctx UNUSED, enum log_level level UNUSED, const struct log_about *about UNUSED,
    const char *message)
{
	size_t len = strlen(logged);

	snprintf(logged + len, sizeof(logged) - len, "%s\n", message);
}

void
rig_setup(void)
{
	struct control_path where = { .path = path, .mode = 0600, .gid = (gid_t)-1 };
	struct err e;

	own_folder(folder);
	snprintf(path, sizeof(path), "%s/run/shop/control", folder);
	memset(&asked, 0, sizeof(asked));
	logged[0] = '\0';
	log_set_sink(on_log_line, NULL);
	loop = ev_loop_new(EVFLAG_AUTO);
	ck_assert_ptr_nonnull(loop);
	control = control_new(loop, &rig_ops, &asked);
	ck_assert_ptr_nonnull(control);
	ck_assert_msg(control_listen(control, &where, &e) == 0, "%s", e.text);
}

void
rig_teardown(void)
{
	control_free(control);
	control = NULL;
	ev_loop_destroy(loop);
	own_folder_remove(folder);
}

void
on_impatience(struct ev_loop *l UNUSED, ev_timer *t UNUSED, int revents UNUSED)
{
	ck_abort_msg("waited in vain; the log says:\n%s", logged);
}

static void
on_event(struct ev_loop *l UNUSED, ev_io *w UNUSED, int revents UNUSED)
{
}

/* Turns the loop until fd can be read. */
void
turn_until_readable(int fd)
{
	char byte;
	ev_timer guard;
	ev_io w;

	ev_now_update(loop);
	ev_timer_init(&guard, on_impatience, PATIENCE_S, 0.0);
	ev_timer_start(loop, &guard);
	ev_io_init(&w, on_event, fd, EV_READ);
	ev_io_start(loop, &w);
	while (recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0)
		ev_run(loop, EVRUN_ONCE);
	ev_io_stop(loop, &w);
	ev_timer_stop(loop, &guard);
}

int
connect_client(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%.100s", path);
	ck_assert_msg(connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0, "connect: %m");
	return fd;
}

void
say(int fd, const void *data, size_t len)
{
	ck_assert_int_eq((int)send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT), (int)len);
}

/* A whole message; the NUL is added. */
void
ask(int fd, const char *message)
{
	say(fd, message, strlen(message) + 1);
}

/* What comes next on fd, one message; NULL: end-of-file. Kept between calls per buffer. */
json_t *
hear_from(int fd, struct buf *in)
{
	json_t *message;
	int r;

	while ((r = varlink_take(in, VARLINK_REPLY_MAX, &message)) == 0) {
		turn_until_readable(fd);
		r = io_recv(fd, in, 0);
		if (r == -ECONNRESET)
			return NULL;
		ck_assert_int_eq(r, 0);
	}
	ck_assert_int_eq(r, 1);
	return message;
}

json_t *
hear(int fd)
{
	AUTO_BUF struct buf in = BUF_INIT(VARLINK_REPLY_MAX);
	json_t *message = hear_from(fd, &in);

	ck_assert_uint_eq(in.len, 0);
	return message;
}

/* The next message is, apart from the order of members, this one. */
void
expect(int fd, const char *text)
{
	json_t *got = hear(fd), *want = json_loads(text, 0, NULL);
	AUTO_FREE char *as_text = got == NULL ? NULL : json_dumps(got, JSON_COMPACT);

	ck_assert_ptr_nonnull(want);
	ck_assert_msg(json_equal(got, want), "got %s\nnot %s", as_text == NULL ? "(nothing)" :
	    as_text, text);
	json_decref(got);
	json_decref(want);
}

void
expect_closed(int fd)
{
	json_t *got = hear(fd);

	ck_assert_msg(got == NULL, "not closed");
	close(fd);
}
