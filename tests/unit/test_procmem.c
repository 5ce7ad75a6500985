/*
 * test_procmem.c - processes in /proc, real ones and made-up ones.
 */
#include "made_up.h"
#include "run_case.h"
#include "system/proctext.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define PAGE ((uint64_t)sysconf(_SC_PAGESIZE))

static void
put_stat(pid_t pid, const char *comm, char state, pid_t pgrp, uint64_t vsize, uint64_t rss)
{
	char name[64], text[512];

	snprintf(name, sizeof(name), "%d/stat", (int)pid);
	snprintf(text, sizeof(text), "%d (%s) %c 1 %d 1 0 -1 4194560 5 6 7 8 9 10 11 12 20 0 1 "
	    "0 99 %ju %ju 18446744073709551615 1 1 0\n", (int)pid, comm, state, (int)pgrp,
	    (uintmax_t)vsize, (uintmax_t)rss);
	put(name, text);
}

START_TEST(sample_of_made_up_files)
{
	static const struct {
		const char *text;
		int want;
		uint64_t as, rss;
	} cases[] = {
		{ "765 436 408 5 0 123 0\n", 0, 765, 436 },
		{ "0 0 0 0 0 0 0\n", -ESRCH, 0, 0 },		/* a zombie */
		{ "", -ESRCH, 0, 0 },
		{ "765", -EBADMSG, 0, 0 },
		{ "765 43", -EBADMSG, 0, 0 },			/* cut */
		{ "765 x\n", -EBADMSG, 0, 0 },
		{ "-1 5\n", -EBADMSG, 0, 0 },
		{ "99999999999999999999 5 \n", -EBADMSG, 0, 0 },
		{ "18446744073709551615 5 \n", -EBADMSG, 0, 0 },	/* bytes overflow */
		{ "\n\n\n", -EBADMSG, 0, 0 },
	};
	struct procmem m = PROCMEM_NONE;
	struct procmem_sample s = { 1, 1 };
	int r;

	put("77/statm", cases[_i].text);
	r = procmem_open(&m, 77);
	ck_assert_int_eq(r, cases[_i].want);
	if (r == 0) {
		ck_assert_int_eq(procmem_read(&m, &s), 0);
		ck_assert_uint_eq(s.as_bytes, cases[_i].as * PAGE);
		ck_assert_uint_eq(s.rss_bytes, cases[_i].rss * PAGE);
		/* the same descriptor sees what is new */
		put("77/statm", "1 2 3\n");
		ck_assert_int_eq(procmem_read(&m, &s), 0);
		ck_assert_uint_eq(s.rss_bytes, 2 * PAGE);
		put("77/statm", "");
		ck_assert_int_eq(procmem_read(&m, &s), -ESRCH);
		ck_assert_uint_eq(s.rss_bytes, 2 * PAGE);
	} else {
		ck_assert_int_eq(m.statm_fd, -1);
	}
	procmem_close(&m);
	ck_assert_int_eq(procmem_read(&m, &s), -EBADF);
	ck_assert_int_eq(procmem_open(&m, 78), -ESRCH);
	ck_assert_int_eq(procmem_open(&m, 0), -EINVAL);
	ck_assert_int_eq(procmem_open(&m, -1), -EINVAL);
}
END_TEST

static pid_t
start_child(void)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

START_TEST(sample_of_real_processes)
{
	struct procmem m = PROCMEM_NONE;
	struct procmem_sample s;
	siginfo_t si;
	pid_t pid;

	procmem_root = "/proc";
	pid = start_child();
	ck_assert_int_eq(procmem_open(&m, pid), 0);
	ck_assert_int_eq(fcntl(m.statm_fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(procmem_read(&m, &s), 0);
	ck_assert_uint_gt(s.rss_bytes, 0);
	ck_assert_uint_ge(s.as_bytes, s.rss_bytes);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT), 0);
	ck_assert_int_eq(procmem_read(&m, &s), -ESRCH);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert_int_eq(procmem_read(&m, &s), -ESRCH);
	procmem_close(&m);
}
END_TEST

START_TEST(peak_of_made_up_files)
{
	static const struct {
		const char *text;
		int want;
		uint64_t kb;
	} cases[] = {
		{ "Name:\tx\nVmPeak:\t  12644 kB\nVmHWM:\t    8644 kB\nVmRSS:\t 1 kB\n", 0, 8644 },
		{ "Name:\tx\nThreads:\t1\n", -ENOTSUP, 0 },
		{ "", -ENOTSUP, 0 },
		{ "VmHWM:\t    8644", -ENOTSUP, 0 },
		{ "VmHWM:\t 18446744073709551615 kB\n", -EBADMSG, 0 },
		{ NULL, -ESRCH, 0 },
	};
	struct procmem m = PROCMEM_NONE;
	uint64_t peak = 5;
	int r;

	put("77/statm", "765 436 408 5 0 123 0\n");
	ck_assert_int_eq(procmem_open(&m, 77), 0);
	if (cases[_i].text)
		put("77/status", cases[_i].text);
	r = procmem_read_peak(&m, &peak);
	ck_assert_int_eq(r, cases[_i].want);
	ck_assert_uint_eq(peak, r == 0 ? cases[_i].kb * 1024 : 5);
	/* one that is gone has none, whoever has its number */
	put("77/statm", "0 0 0 0 0 0 0\n");
	ck_assert_int_eq(procmem_read_peak(&m, &peak), -ESRCH);
	procmem_close(&m);
	ck_assert_int_lt(procmem_read_peak(&m, &peak), 0);
}
END_TEST

/* Touches `bytes` of memory and gives them back. */
static void
touch(size_t bytes)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		_exit(2);
	for (size_t i = 0; i < bytes; i += PAGE)
		p[i] = 1;
	munmap(p, bytes);
}

/* What was given back counts; what the parent had once does not. */
START_TEST(peak_of_real_processes)
{
	struct procmem m = PROCMEM_NONE;
	uint64_t own, of_child;
	int pipes[2];
	pid_t pid;
	char c;

	procmem_root = "/proc";
	touch(64 << 20);
	ck_assert_int_eq(procmem_open(&m, getpid()), 0);
	ck_assert_int_eq(procmem_read_peak(&m, &own), 0);
	procmem_close(&m);
	ck_assert_uint_ge(own, 64 << 20);
	ck_assert_int_eq(pipe(pipes), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		touch(16 << 20);
		if (write(pipes[1], "x", 1) != 1)
			_exit(1);
		pause();
	}
	ck_assert_int_eq(read(pipes[0], &c, 1), 1);
	ck_assert_int_eq(procmem_open(&m, pid), 0);
	ck_assert_int_eq(procmem_read_peak(&m, &of_child), 0);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert_uint_ge(of_child, 16 << 20);
	ck_assert_uint_lt(of_child, 48 << 20);
	ck_assert_int_eq(procmem_read_peak(&m, &own), -ESRCH);
	procmem_close(&m);
	close(pipes[0]);
	close(pipes[1]);
	ck_assert_uint_le(procmem_statm_error(), UINT64_C(4) << 30);
}
END_TEST

START_TEST(count_descriptors)
{
	uint64_t before = 0, after = 0;
	int fds[2];

	procmem_root = "/proc";
	ck_assert_int_eq(procmem_count_fds(getpid(), &before), 0);
	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(procmem_count_fds(getpid(), &after), 0);
	ck_assert_uint_eq(after, before + 2);
	procmem_root = root;
	put("5/fd/0", "");
	put("5/fd/1", "");
	put("5/fd/17", "");
	ck_assert_int_eq(procmem_count_fds(5, &after), 0);
	ck_assert_uint_eq(after, 3);
	ck_assert_int_eq(procmem_count_fds(6, &after), -ESRCH);
	if (geteuid() == 0) {
		ck_assert_int_eq(seteuid(65534), 0);
		procmem_root = "/proc";
		ck_assert_int_eq(procmem_count_fds(1, &after), -EACCES);
		ck_assert_int_eq(seteuid(0), 0);
	}
}
END_TEST

START_TEST(stat_texts)
{
	static const char tail[] =
	    " S 1 42 1 0 -1 4194560 5 6 7 8 9 10 11 12 20 0 1 0 99 8192 3 18446744073709551615";
	static const char *const commands[] = {
		"cat", "a b", "a) S 1 1 1", "((", "))", "", ") R 5 6 (", "x\ny",
	};
	struct proctext_stat s;
	char text[512];

	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		int n = snprintf(text, sizeof(text), "7 (%s)%s", commands[i], tail);

		ck_assert_msg(proctext_stat(text, (size_t)n, &s) == 0, "%s", text);
		ck_assert_int_eq(s.pid, 7);
		ck_assert_int_eq(s.state, 'S');
		ck_assert_int_eq(s.ppid, 1);
		ck_assert_int_eq(s.pgrp, 42);
		ck_assert_uint_eq(s.vsize_bytes, 8192);
		ck_assert_uint_eq(s.rss_pages, 3);
		/* whatever is cut off, up to the number that matters last, makes it bad */
		for (int len = 0; len <= n - (int)strlen(" 18446744073709551615"); len++)
			ck_assert_msg(proctext_stat(text, (size_t)len, &s) == -EBADMSG,
			    "%.*s", len, text);
	}
	ck_assert_int_eq(proctext_stat("x (cat) S 1 2", 13, &s), -EBADMSG);
	ck_assert_int_eq(proctext_stat(") 7", 3, &s), -EBADMSG);
}
END_TEST

START_TEST(groups_of_made_up_processes)
{
	static const pid_t leaders[] = { 100, 50, 999, 70 };
	struct procmem_sample sum[4];
	unsigned n[4];

	put_stat(100, "leader", 'S', 100, 1 << 20, 10);
	put_stat(101, "a b) R 1 5", 'S', 100, 4096, 20);
	put_stat(102, "child", 'R', 100, 4096, 30);
	put_stat(103, "zombie", 'Z', 100, 0, 0);
	put_stat(104, "other", 'S', 104, 4096, 1000);
	put_stat(50, "leader2", 'S', 50, 4096, 5);
	put_stat(51, "child2", 'S', 50, 8192, 7);
	put("105/stat", "");
	put("106/stat", "106 (cut) S 1 100 1");
	put("107/stat", "1070 (liar) S 1 100 1 0 -1 1 5 6 7 8 9 10 11 12 20 0 1 0 99 1 1 1\n");
	put("108/statm", "no stat here");
	put("self/stat", "101 (x) S 1 100 1 0 -1 1 5 6 7 8 9 10 11 12 20 0 1 0 99 1 1 1\n");
	put("12x/stat", "12 (x) S 1 100 1 0 -1 1 5 6 7 8 9 10 11 12 20 0 1 0 99 1 1 1\n");
	put("99999999999/stat", "x");
	ck_assert_int_eq(procmem_groups(leaders, 4, sum, n), 0);
	ck_assert_uint_eq(n[0], 2);
	ck_assert_uint_eq(sum[0].rss_bytes, 50 * PAGE);
	ck_assert_uint_eq(sum[0].as_bytes, 8192);
	ck_assert_uint_eq(n[1], 1);
	ck_assert_uint_eq(sum[1].rss_bytes, 7 * PAGE);
	ck_assert_uint_eq(sum[1].as_bytes, 8192);
	ck_assert_uint_eq(n[2] + n[3], 0);
	ck_assert_uint_eq(sum[2].rss_bytes + sum[3].rss_bytes, 0);
	ck_assert_int_eq(procmem_groups(leaders, 0, sum, n), 0);
	procmem_root = "/nonexistent";
	ck_assert_int_eq(procmem_groups(leaders, 4, sum, n), -ENOENT);
}
END_TEST

START_TEST(groups_of_real_processes)
{
	struct procmem_sample sum;
	unsigned n = 0;
	pid_t leader, member;

	procmem_root = "/proc";
	leader = start_child();
	setpgid(leader, leader);
	member = start_child();
	ck_assert_int_eq(setpgid(member, leader), 0);
	ck_assert_int_eq(procmem_groups(&leader, 1, &sum, &n), 0);
	ck_assert_uint_eq(n, 1);
	ck_assert_uint_gt(sum.rss_bytes, 0);
	kill(leader, SIGKILL);
	kill(member, SIGKILL);
	waitpid(leader, NULL, 0);
	waitpid(member, NULL, 0);
}
END_TEST

START_TEST(polls_of_real_processes)
{
	struct stat st;
	struct epoll_event ev = { .events = EPOLLIN };
	int sv[2], ep;
	pid_t child;

	procmem_root = "/proc";
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	ck_assert_int_eq(fstat(sv[0], &st), 0);
	ep = epoll_create1(0);
	ck_assert_int_ge(ep, 0);
	ck_assert_int_eq(epoll_ctl(ep, EPOLL_CTL_ADD, sv[1], &ev), 0);
	ck_assert_int_eq(procmem_polls_inode(getpid(), st.st_ino), 0);
	/* the one in question comes after enough others to need more than one buffer */
	for (int i = 0; i < 100; i++) {
		int copy = dup(sv[1]);

		ck_assert_int_eq(epoll_ctl(ep, EPOLL_CTL_ADD, copy, &ev), 0);
	}
	ck_assert_int_eq(epoll_ctl(ep, EPOLL_CTL_ADD, sv[0], &ev), 0);
	ck_assert_int_eq(procmem_polls_inode(getpid(), st.st_ino), 1);
	/* a descendant's counts too */
	child = start_child();
	setpgid(child, child);
	ck_assert_int_eq(procmem_polls_inode(child, st.st_ino), 1);
	ck_assert_int_eq(procmem_polls_inode(child, st.st_ino + 100000), 0);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	ck_assert_int_eq(procmem_polls_inode(child, st.st_ino), -ESRCH);
	ck_assert_int_eq(procmem_polls_inode(0, st.st_ino), -EINVAL);
	if (geteuid() == 0) {
		ck_assert_int_eq(seteuid(65534), 0);
		ck_assert_int_eq(procmem_polls_inode(1, st.st_ino), -EACCES);
		ck_assert_int_eq(seteuid(0), 0);
	}
}
END_TEST

START_TEST(polls_of_a_made_up_member)
{
	char path[128];

	put_stat(10, "leader", 'S', 10, 1, 1);
	put("10/fd/1", "");
	put_stat(11, "member", 'S', 10, 1, 1);
	put("11/fd/1", "");
	put("11/fdinfo/7", "pos:\t0\nflags:\t02\ntfd:        5 events:       19 "
	    "data:                5  pos:0 ino:1f2a sdev:8\n");
	snprintf(path, sizeof(path), "%s/11/fd/7", root);
	ck_assert_int_eq(symlink("anon_inode:[eventpoll]", path), 0);
	ck_assert_int_eq(procmem_polls_inode(10, 0x1f2a), 1);
	ck_assert_int_eq(procmem_polls_inode(10, 0x1f2), 0);
	put("11/fdinfo/7", "tfd: 5 events: 19 ino:1f2a");	/* no newline */
	ck_assert_int_eq(procmem_polls_inode(10, 0x1f2a), 1);
	/* wherever the end of a buffer falls */
	for (int fill = 4000; fill < 4100; fill++) {
		char text[4200];
		int n = snprintf(text, sizeof(text), "pos: 0\n%*s\ntfd: 5 ino:1f2a sdev:8\nx\n",
		    fill, "x");

		ck_assert_int_lt(n, (int)sizeof(text));
		put("11/fdinfo/7", text);
		ck_assert_msg(procmem_polls_inode(10, 0x1f2a) == 1, "after %d bytes", fill);
	}
	put("11/fdinfo/7", "ino:1f2a\ntfd: 1 ino:\ntfd: ino:zz\n tfd\n");
	ck_assert_int_eq(procmem_polls_inode(10, 0x1f2a), 0);
}
END_TEST

START_TEST(small_texts)
{
	uint64_t v = 0, w = 0;

	ck_assert_int_eq(proctext_number("max\n", 4, &v), 0);
	ck_assert_uint_eq(v, PROCTEXT_UNLIMITED);
	ck_assert_int_eq(proctext_number("-1\n", 3, &v), 0);
	ck_assert_uint_eq(v, PROCTEXT_UNLIMITED);
	ck_assert_int_eq(proctext_number("512", 3, &v), 0);
	ck_assert_uint_eq(v, 512);
	ck_assert_int_eq(proctext_number("maximum", 7, &v), -EBADMSG);
	ck_assert_int_eq(proctext_number("-2\n", 3, &v), -EBADMSG);
	ck_assert_int_eq(proctext_number("5 5\n", 4, &v), -EBADMSG);
	ck_assert_int_eq(proctext_number("", 0, &v), -EBADMSG);
	ck_assert_int_eq(proctext_number("18446744073709551614", 20, &v), 0);
	ck_assert_int_eq(proctext_number("18446744073709551616", 20, &v), -EBADMSG);
	ck_assert_int_eq(proctext_number("99999999999999999999", 20, &v), -EBADMSG);
	ck_assert_int_eq(proctext_keyed("oom_killer 1\noom_kill 2\n", 24, "oom_kill", &v), 0);
	ck_assert_uint_eq(v, 2);
	ck_assert_int_eq(proctext_cpu_max("max 5", 5, &v, &w), 0);
	ck_assert_uint_eq(w, 5);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("all");

	tcase_set_timeout(tc, 30);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, sample_of_made_up_files, 0, 10);
	tcase_add_test(tc, sample_of_real_processes);
	tcase_add_loop_test(tc, peak_of_made_up_files, 0, 6);
	tcase_add_test(tc, peak_of_real_processes);
	tcase_add_test(tc, count_descriptors);
	tcase_add_test(tc, stat_texts);
	tcase_add_test(tc, groups_of_made_up_processes);
	tcase_add_test(tc, groups_of_real_processes);
	tcase_add_test(tc, polls_of_real_processes);
	tcase_add_test(tc, polls_of_a_made_up_member);
	tcase_add_test(tc, small_texts);
	return run_case("procmem", tc);
}
