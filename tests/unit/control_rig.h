/*
 * control_rig.h - a control socket with a real loop, fake commands, and clients.
 *
 * Clients live in the same process: wherever one waits, the loop turns. Every wait ends
 * at a deadline that fails the test. rig_setup and rig_teardown are the fixture.
 */
#ifndef PREFORKD_TEST_CONTROL_RIG_H
#define PREFORKD_TEST_CONTROL_RIG_H

#include "base/io.h"
#include "master/control_private.h"

#include <check.h>

#define PATIENCE_S 10.0

extern struct ev_loop *loop;
extern struct control *control;
extern char folder[64];		/* the test's own */
extern char path[128];		/* of the socket, below it */
extern char logged[4096];	/* every line so far */
extern const struct control_ops rig_ops;

/* What the fake master was asked for last, and how often it was. */
extern struct asked {
	control_call_id id;
	char what[64];
	unsigned number;
	bool flag;
	unsigned n;
	size_t status_bytes;	/* of its next status, or part of Memory */
	unsigned parts;		/* of Memory, before the last one; UINT_MAX: out of memory */
} asked;

void rig_setup(void);
void rig_teardown(void);

/* Turns the loop until fd can be read. */
void turn_until_readable(int fd);

/* Fails the test. */
void on_impatience(struct ev_loop *l, ev_timer *t, int revents);

/* Turns the loop until a condition holds that another client or a timer brings about. */
#define TURN_UNTIL(condition) do {				\
	ev_timer guard_;					\
	ev_now_update(loop);					\
	ev_timer_init(&guard_, on_impatience, PATIENCE_S, 0.0);	\
	ev_timer_start(loop, &guard_);				\
	while (!(condition))					\
		ev_run(loop, EVRUN_ONCE);			\
	ev_timer_stop(loop, &guard_);				\
} while (0)

int connect_client(void);
void say(int fd, const void *data, size_t len);
/* A whole message; the NUL is added. */
void ask(int fd, const char *message);
/* The next message on fd, owned; NULL: end-of-file. What was read beyond it stays in in. */
json_t *hear_from(int fd, struct buf *in);
/* The same when nothing may come beyond it. */
json_t *hear(int fd);
/* The next message is, apart from the order of members, this one. */
void expect(int fd, const char *text);
/* Also closes fd. */
void expect_closed(int fd);

#define CALL(method, parameters) \
	"{\"method\":\"io.preforkd.Manager." method "\",\"parameters\":" parameters "}"
#define PING CALL("Ping", "{}")
#define DONE "{\"parameters\":{}}"
#define BAD(name) "{\"error\":\"org.varlink.service.InvalidParameter\"," \
	"\"parameters\":{\"parameter\":\"" name "\"}}"

#endif
