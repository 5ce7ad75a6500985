/*
 * test_worker_memory.c - trims, traces and memory reports through a real channel; the other end
 * of it is the test.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/channel.h"
#include "master/worker.h"

#include "run_case.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

static struct ev_loop *loop;
static struct settings settings;
static struct generation gen;
static struct worker *w;
static int peer;
static unsigned n_trimmed, n_reported;
static uint64_t reported_id;
static char reported_text[256];

static void
on_any(void *ctx UNUSED, struct worker *of UNUSED)
{
}

static void
on_trimmed(void *ctx UNUSED, struct worker *of)
{
	ck_assert_ptr_eq(of, w);
	n_trimmed++;
}

static void
on_reported(void *ctx UNUSED, struct worker *of UNUSED, uint64_t id, const char *text)
{
	n_reported++;
	reported_id = id;
	snprintf(reported_text, sizeof reported_text, "%s", text);
}

static const struct worker_ops ops = {
	.ready = on_any, .news = on_any, .trimmed = on_trimmed, .reported = on_reported,
};

static void
setup(void)
{
	loop = ev_loop_new(EVFLAG_AUTO);
	ck_assert_ptr_nonnull(loop);
	gen = (struct generation){ .refs = 1, .settings = &settings, .has_agent = true,
		.log_fd = -1 };
	w = worker_new(loop, &ops, NULL, &gen, 1);
	ck_assert_ptr_nonnull(w);
	ck_assert_int_eq(channel_pair(&w->channel_fd, &peer), 0);
	worker_channel_start(w);
	w->pid = getpid();
	w->gov.state = WS_READY;
	n_trimmed = n_reported = 0;
}

static void
teardown(void)
{
	w->gov.state = WS_VACANT;
	worker_free(w);
	ck_assert_uint_eq(gen.refs, 1);
	close(peer);
	ev_loop_destroy(loop);
}

/* What the worker's end has got. */
static const char *
heard(void)
{
	static char data[MESSAGE_MAX + 1];
	ssize_t n = channel_recv(peer, data, MESSAGE_MAX, NULL);

	ck_assert_int_ge(n, 0);
	data[n] = '\0';
	return data;
}

static void
say(const char *text)
{
	ck_assert_int_eq(channel_send(peer, text, strlen(text), -1), 0);
	ev_run(loop, EVRUN_ONCE);
}

START_TEST(trims)
{
	ck_assert_int_eq(worker_ask_trim(w), 0);
	ck_assert_str_eq(heard(), "TRIM=1\n");
	ck_assert_int_eq(worker_ask_trim(w), -EAGAIN);
	say("TRIMMED=300,250,100\nTOOK_USEC=84000");
	ck_assert_uint_eq(n_trimmed, 1);
	ck_assert(w->trims.last.known);
	ck_assert_uint_eq(w->trims.last.before, 300);
	ck_assert_uint_eq(w->trims.last.after_gc, 250);
	ck_assert_uint_eq(w->trims.last.after_trim, 100);
	ck_assert_uint_gt(w->trims.last.at_ms, 0);
	ck_assert_uint_eq(w->trims.took_us, 84000);
	ck_assert_uint_eq(w->trims.given_back, 200);

	/* nothing is gained: that is no loss */
	ck_assert_int_eq(worker_ask_trim(w), 0);
	say("TRIMMED=100,110,120");
	ck_assert_uint_eq(trim_gain(&w->trims.last), 0);
	ck_assert_uint_eq(w->trims.given_back, 200);
	ck_assert_uint_eq(w->trims.n, 2);
	ck_assert_uint_eq(w->trims.took_us, 0);
}
END_TEST

/* The last result stays. */
START_TEST(refused)
{
	ck_assert_int_eq(worker_ask_trim(w), 0);
	say("TRIMMED=300,250,100");
	ck_assert_int_eq(worker_ask_trim(w), 0);
	say("UNTRIMMED=requests were\\nin \x01progress");
	ck_assert_uint_eq(n_trimmed, 2);
	ck_assert_str_eq(w->trims.refusal, "requests were\nin ?progress");
	ck_assert_uint_eq(w->trims.n, 1);
	ck_assert_uint_eq(w->trims.last.before, 300);
	ck_assert_int_eq(worker_ask_trim(w), 0);
	say("TRIMMED=300,250,100");
	ck_assert_ptr_null(w->trims.refusal);
}
END_TEST

/* Nobody has asked, or it is none. */
START_TEST(not_asked)
{
	say("TRIMMED=300,250,100");
	say("UNTRIMMED=never");
	ck_assert_uint_eq(n_trimmed, 0);
	ck_assert(!w->trims.last.known);
	ck_assert_int_eq(worker_ask_trim(w), 0);
	say("TRIMMED=300,250");
	say("TRIMMED=300,250,1125899906842625");
	ck_assert_uint_eq(n_trimmed, 0);
	say("TRIMMED=300,250,100\nUNTRIMMED=both");
	ck_assert_uint_eq(n_trimmed, 1);
	say("TRIMMED=400,250,100");
	ck_assert_uint_eq(n_trimmed, 1);
	ck_assert_uint_eq(w->trims.given_back, 200);
}
END_TEST

START_TEST(cannot_be_asked)
{
	w->gov.state = WS_DRAINING;
	ck_assert_int_eq(worker_ask_trim(w), -ENOTSUP);
	w->gov.state = WS_STARTING;
	ck_assert_int_eq(worker_ask_trim(w), -ENOTSUP);
	ck_assert_int_eq(worker_ask_memory(w, 1, 5), -ENOTSUP);
	ck_assert_int_eq(worker_trace(w, true), -ENOTSUP);
	w->gov.state = WS_READY;
	gen.has_agent = false;
	ck_assert_int_eq(worker_ask_trim(w), -ENOTSUP);
	gen.has_agent = true;
	/* one whose socket is full is asked another time */
	while (channel_send(w->channel_fd, "x", 1, -1) == 0)
		;
	ck_assert_int_eq(worker_ask_trim(w), -EAGAIN);
	ck_assert_uint_eq(w->trims.asked_ms, 0);
	ck_assert_int_eq(worker_ask_memory(w, 1, 5), -EAGAIN);
	ck_assert_uint_eq(w->report_id, 0);
	close(peer);
	peer = -1;
	ev_run(loop, EVRUN_ONCE);
	ck_assert_int_eq(w->channel_fd, -1);
	ck_assert_int_eq(worker_ask_trim(w), -ENOTSUP);
}
END_TEST

/* An answer that never comes does not count for ever. */
START_TEST(forgotten)
{
	ck_assert_int_eq(worker_ask_trim(w), 0);
	ck_assert_int_eq(worker_ask_trim(w), -EAGAIN);
	ck_assert_uint_gt(w->trims.asked_ms, 61000);
	w->trims.asked_ms -= 61000;
	ck_assert_int_eq(worker_ask_trim(w), 0);
}
END_TEST

/* Only while it was asked to trace, and half of what was measured at the most. */
START_TEST(cost)
{
	say("TRACED=1000000");
	ck_assert_uint_eq(worker_without_tracing(w, 80 * MIB), 80 * MIB);
	ck_assert_int_eq(worker_trace(w, true), 0);
	ck_assert_str_eq(heard(), "TRACE=1\n");
	w->tracing.on = true;
	say("TRACED=1048576");
	ck_assert_uint_eq(worker_without_tracing(w, 80 * MIB), 79 * MIB);
	say("TRACED=1125899906842624");
	ck_assert_uint_eq(worker_without_tracing(w, 80 * MIB), 40 * MIB);
	w->tracing.on = false;
	ck_assert_int_eq(worker_trace(w, false), 0);
	ck_assert_str_eq(heard(), "TRACE=0\n");
	say("TRACED=0");
	ck_assert_uint_eq(worker_without_tracing(w, 80 * MIB), 80 * MIB);
	say("TRACED=1048576");
	ck_assert_uint_eq(worker_without_tracing(w, 80 * MIB), 80 * MIB);
}
END_TEST

START_TEST(reports)
{
	ck_assert_int_eq(worker_ask_memory(w, 7, 5), 0);
	ck_assert_str_eq(heard(), "REPORT=7\nWHAT=memory\nSECONDS=5\n");
	ck_assert_int_eq(worker_ask_memory(w, 8, 5), -EAGAIN);
	ck_assert_int_eq(worker_ask_memory(w, WORKER_REPORT_FOR_LOG, 0), -EAGAIN);
	ck_assert_int_eq(worker_ask_report(w, 9), -EAGAIN);
	say("REPORT=7\nTEXT=a\\n\nMORE=1");
	say("REPORT=8\nTEXT=wrong\\n");
	ck_assert_uint_eq(n_reported, 0);
	say("REPORT=7\nTEXT=b\\n");
	ck_assert_uint_eq(n_reported, 1);
	ck_assert_uint_eq(reported_id, 7);
	ck_assert_str_eq(reported_text, "a\nb\n");
}
END_TEST

/* One for the log that does not come keeps nobody from another for long. */
START_TEST(report_for_the_log)
{
	ck_assert_int_eq(worker_ask_memory(w, WORKER_REPORT_FOR_LOG, 0), 0);
	ck_assert_str_eq(heard(), "REPORT=9223372036854775808\nWHAT=memory\nSECONDS=0\n");
	ck_assert_int_eq(worker_ask_report(w, 9), -EAGAIN);
	w->report_ms -= WORKER_LOG_REPORT_MS;
	ck_assert_int_eq(worker_ask_report(w, 9), 0);
	say("REPORT=9223372036854775808\nTEXT=too late");
	ck_assert_uint_eq(n_reported, 0);
	say("REPORT=9\nTEXT=in time");
	ck_assert_uint_eq(n_reported, 1);
}
END_TEST

static unsigned
count_open(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void
say_with(const char *text, int fd)
{
	ck_assert_int_eq(channel_send(peer, text, strlen(text), fd), 0);
	close(fd);
	ev_run(loop, EVRUN_ONCE);
}

/* A descriptor is looked at with the first READY only; all others are closed. */
START_TEST(descriptors)
{
	unsigned before;

	w->gov.state = WS_STARTING;
	before = count_open();
	say_with("STATUS=x", open("/proc/self/smaps_rollup", O_RDONLY));
	ck_assert_int_eq(w->mem.rollup_fd, -1);
	ck_assert_uint_eq(count_open(), before);
	say_with("READY=1", open("/proc/self/statm", O_RDONLY));
	ck_assert_int_eq(w->gov.state, WS_READY);
	ck_assert_int_eq(w->mem.rollup_fd, -1);
	ck_assert_uint_eq(count_open(), before);
	say_with("READY=1", open("/proc/self/smaps_rollup", O_RDONLY));
	ck_assert_int_eq(w->mem.rollup_fd, -1);
	ck_assert_uint_eq(count_open(), before);
	w->gov.state = WS_STARTING;
	say_with("READY=1", open("/proc/self/smaps_rollup", O_RDONLY));
	ck_assert_int_ge(w->mem.rollup_fd, 0);
	ck_assert_int_ge(w->mem.statm_fd, 0);
	ck_assert_uint_eq(count_open(), before + 2);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("worker_memory");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, trims);
	tcase_add_test(tc, refused);
	tcase_add_test(tc, not_asked);
	tcase_add_test(tc, cannot_be_asked);
	tcase_add_test(tc, forgotten);
	tcase_add_test(tc, cost);
	tcase_add_test(tc, reports);
	tcase_add_test(tc, report_for_the_log);
	tcase_add_test(tc, descriptors);
	return run_case("worker_memory", tc);
}
