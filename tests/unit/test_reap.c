/*
 * test_reap.c - deaths are seen before they are reaped, and nothing of a group is left.
 */
#include "system/reap.h"

#include "run_case.h"

#include <check.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define DEADLINE_MS 10000

/* Waits until the child is a zombie, without reaping it. */
static void
wait_dead(pid_t pid)
{
	siginfo_t si;

	ck_assert_int_eq(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT), 0);
}

static int
finish(pid_t pid, bool own_group)
{
	struct death d = { .pid = pid };

	return reap_finish(&d, own_group);
}

static pid_t
start_exit(int status)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		_exit(status);
	return pid;
}

static pid_t
start_sleeper(void)
{
	pid_t pid;

	signal(SIGTERM, SIG_DFL);	/* the test runner's handler would be inherited */
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

START_TEST(nobody)
{
	struct death d = { .pid = 7 };

	ck_assert_int_eq(reap_peek(&d), 0);
	ck_assert_int_eq(d.pid, 7);
	pid_t pid = start_sleeper();

	ck_assert_int_eq(reap_peek(&d), 0);
	ck_assert_int_eq(finish(pid, true), -EAGAIN);
	ck_assert_int_eq(kill(pid, 0), 0);
	ck_assert_int_eq(reap_signal(pid, SIGKILL), 0);
	wait_dead(pid);
	ck_assert_int_eq(finish(pid, false), 0);
	ck_assert_int_eq(finish(pid, false), -ECHILD);
}
END_TEST

/* Of a child that has had it at once, and given it back. */
START_TEST(peak)
{
	struct death d[2] = {0};

	for (size_t i = 0; i < ARRAY_LEN(d); i++) {
		size_t len = i == 0 ? (size_t)1 << 20 : (size_t)200 << 20;
		pid_t pid = fork();

		ck_assert_int_ge(pid, 0);
		if (pid == 0) {
			char *room = mmap(NULL, len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

			if (room == MAP_FAILED)
				_exit(1);
			memset(room, 1, len);
			munmap(room, len);
			_exit(0);
		}
		wait_dead(pid);
		ck_assert_int_eq(reap_peek(&d[i]), 1);
		ck_assert_int_eq(d[i].status, 0);
		ck_assert_uint_eq(d[i].peak_bytes, 0);
		ck_assert_int_eq(reap_finish(&d[i], false), 0);
	}
	ck_assert_uint_gt(d[0].peak_bytes, 0);
	ck_assert_uint_ge(d[1].peak_bytes, d[0].peak_bytes + ((uint64_t)190 << 20));
}
END_TEST

START_TEST(exit_statuses)
{
	static const int statuses[] = { 0, 1, 3, 127, 255 };
	struct death d;
	pid_t pid = start_exit(statuses[_i]);

	wait_dead(pid);
	/* looking does not reap */
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(reap_peek(&d), 1);
		ck_assert_int_eq(d.pid, pid);
		ck_assert(!d.by_signal);
		ck_assert(!d.core);
		ck_assert_int_eq(d.status, statuses[_i]);
	}
	ck_assert_int_eq(kill(pid, 0), 0);
	ck_assert_int_eq(finish(pid, false), 0);
	ck_assert_int_eq(reap_peek(&d), 0);
	ck_assert_int_eq(kill(pid, 0), -1);
}
END_TEST

START_TEST(signals)
{
	static const int sigs[] = { SIGKILL, SIGTERM, SIGABRT };
	struct rlimit none = { 0, 0 };
	struct death d;
	pid_t pid;

	ck_assert_int_eq(setrlimit(RLIMIT_CORE, &none), 0);
	pid = start_sleeper();
	ck_assert_int_eq(reap_signal(pid, sigs[_i]), 0);
	wait_dead(pid);
	ck_assert_int_eq(reap_peek(&d), 1);
	ck_assert(d.by_signal);
	ck_assert_int_eq(d.status, sigs[_i]);
	ck_assert_int_eq(finish(pid, false), 0);
}
END_TEST

/* A number belongs to a child until that has been reaped, and to nobody of ours afterwards. */
START_TEST(is_child)
{
	pid_t pid = start_sleeper();
	struct death d = {0};

	ck_assert(reap_is_child(pid));
	ck_assert_int_eq(reap_signal(pid, SIGKILL), 0);
	while (reap_peek(&d) == 0)
		;
	ck_assert_int_eq(d.pid, pid);
	ck_assert(reap_is_child(pid));
	ck_assert_int_eq(finish(pid, false), 0);
	ck_assert(!reap_is_child(pid));
	ck_assert(!reap_is_child(getpid()));
	ck_assert(!reap_is_child(getppid()));
	ck_assert(!reap_is_child(0));
	ck_assert(!reap_is_child(-1));
}
END_TEST

START_TEST(several)
{
	bool seen[5] = { false };
	struct death d;
	pid_t pids[5];

	for (int i = 0; i < 5; i++)
		pids[i] = start_exit(i);
	for (int i = 0; i < 5; i++)
		wait_dead(pids[i]);
	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(reap_peek(&d), 1);
		ck_assert_int_lt(d.status, 5);
		ck_assert(!seen[d.status]);
		ck_assert_int_eq(pids[d.status], d.pid);
		seen[d.status] = true;
		ck_assert_int_eq(finish(d.pid, false), 0);
	}
	ck_assert_int_eq(reap_peek(&d), 0);
}
END_TEST

/* A leader that dies and leaves two of its group behind, one of which ignores SIGTERM. Both
 * hold the write end of the pipe. */
static pid_t
start_group(int fds[2])
{
	pid_t leader;
	char c;

	ck_assert_int_eq(pipe(fds), 0);
	leader = fork();
	ck_assert_int_ge(leader, 0);
	if (leader == 0) {
		setpgid(0, 0);
		for (int i = 0; i < 2; i++) {
			pid_t member = fork();

			if (member != 0)
				continue;
			if (i == 0)
				signal(SIGTERM, SIG_IGN);
			if (write(fds[1], "x", 1) != 1)
				_exit(1);
			for (;;)
				pause();
		}
		_exit(0);
	}
	close(fds[1]);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(read(fds[0], &c, 1), 1);
	return leader;
}

static bool
ends_soon(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char c;

	return poll(&p, 1, ms) == 1 && read(fd, &c, 1) == 0;
}

START_TEST(rest_of_a_group)
{
	struct death d;
	int fds[2];
	pid_t leader;

	/* so that the members become our children and can be counted */
	ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
	leader = start_group(fds);
	wait_dead(leader);
	ck_assert_int_eq(reap_peek(&d), 1);
	ck_assert_int_eq(d.pid, leader);
	ck_assert_msg(!ends_soon(fds[0], 0), "the members are gone too early");
	ck_assert_int_eq(finish(leader, true), 0);
	ck_assert_msg(ends_soon(fds[0], DEADLINE_MS), "a member of the group lives on");
	for (int i = 0; i < 2; i++) {
		siginfo_t si;

		ck_assert_int_eq(waitid(P_ALL, 0, &si, WEXITED | WNOWAIT), 0);
		ck_assert_int_eq(reap_peek(&d), 1);
		ck_assert_int_eq(d.status, SIGKILL);
		ck_assert_int_eq(finish(d.pid, true), 0);
	}
	ck_assert_int_eq(reap_peek(&d), 0);
}
END_TEST

START_TEST(group_left_alone)
{
	int fds[2];
	pid_t leader = start_group(fds);

	wait_dead(leader);
	ck_assert_int_eq(finish(leader, false), 0);
	ck_assert_msg(!ends_soon(fds[0], 100), "the members were killed");
	/* the number still names the group */
	ck_assert_int_eq(reap_signal_group(leader, SIGKILL), 0);
	ck_assert_msg(ends_soon(fds[0], DEADLINE_MS), "a member of the group lives on");
}
END_TEST

/* own_group for a child that never made one must not hit ours. */
START_TEST(no_group_of_its_own)
{
	pid_t pid = start_exit(0), bystander = start_sleeper();

	wait_dead(pid);
	ck_assert_int_eq(finish(pid, true), 0);
	ck_assert_int_eq(kill(bystander, 0), 0);
	ck_assert_int_eq(waitpid(bystander, NULL, WNOHANG), 0);
	ck_assert_int_eq(reap_signal(bystander, SIGKILL), 0);
	ck_assert_int_eq(waitpid(bystander, NULL, 0), bystander);
}
END_TEST

START_TEST(refused_numbers)
{
	static const pid_t pids[] = { 1, 0, -1, -2 };

	ck_assert_int_eq(reap_signal(pids[_i], 0), -EINVAL);
	ck_assert_int_eq(reap_signal_group(pids[_i], 0), -EINVAL);
	ck_assert_int_eq(finish(pids[_i], true), -EINVAL);
	ck_assert_int_eq(reap_signal_group(getpgrp(), 0), -EINVAL);
}
END_TEST

START_TEST(descriptions)
{
	static const struct {
		struct death d;
		const char *want;
	} cases[] = {
		{ { .pid = 7, .status = 0 }, "exit status 0" },
		{ { .pid = 7, .status = 3 }, "exit status 3" },
		{ { .pid = 7, .status = SIGKILL, .by_signal = true }, "killed by SIGKILL" },
		{ { .pid = 7, .status = SIGSEGV, .by_signal = true, .core = true },
		    "killed by SIGSEGV (core dumped)" },
		{ { .pid = 7, .status = 50, .by_signal = true }, "killed by signal 50" },
		{ { .pid = 7, .status = 9999, .by_signal = true }, "killed by signal 9999" },
		{ { .pid = 0 }, "no process has shown itself" },
	};
	char text[64];

	death_describe(&cases[_i].d, text, sizeof(text));
	ck_assert_str_eq(text, cases[_i].want);
	death_describe(&cases[_i].d, text, 5);
	ck_assert_uint_eq(strlen(text), 4);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("all");

	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, nobody);
	tcase_add_test(tc, peak);
	tcase_add_loop_test(tc, exit_statuses, 0, 5);
	tcase_add_loop_test(tc, signals, 0, 3);
	tcase_add_test(tc, is_child);
	tcase_add_test(tc, several);
	tcase_add_test(tc, rest_of_a_group);
	tcase_add_test(tc, group_left_alone);
	tcase_add_test(tc, no_group_of_its_own);
	tcase_add_loop_test(tc, refused_numbers, 0, 4);
	tcase_add_loop_test(tc, descriptions, 0, 7);
	return run_case("reap", tc);
}
