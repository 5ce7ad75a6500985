/*
 * test_rollup.c - what of a process's memory is shared, of real processes and made-up ones.
 *
 * SPDX-License-Identifier: MIT
 */
#include "made_up.h"
#include "run_case.h"
#include "system/proctext.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define MB (UINT64_C(1) << 20)

static const char text[] =
    "5565b7ce0000-7ffe97a0b000 ---p 00000000 00:00 0                          [rollup]\n"
    "Rss:                1668 kB\n"
    "Pss:                 228 kB\n"
    "Pss_Dirty:           112 kB\n"
    "Shared_Clean:       1520 kB\n"
    "Private_Clean:        36 kB\n"
    "Private_Dirty:       112 kB\n"
    "Private_Hugetlb:    2048 kB\n"
    "Swap:                  8 kB\n"
    "SwapPss:               3 kB\n"
    "Locked:                0 kB\n";

START_TEST(texts)
{
	static const char *const bad[] = {
		"", "Rss: 1 kB\n", "\n\n",
		"Rss: 1 kB\nPss: 1 kB\nPrivate_Clean: 1 kB\nPrivate_Dirty: 1 kB\n",	/* no swap */
		"Rss: 1 MB\nPss: 1 kB\nPrivate_Clean: 1 kB\nPrivate_Dirty: 1 kB\nSwap: 0 kB\n",
		"Rss: -1 kB\nPss: 1 kB\nPrivate_Clean: 1 kB\nPrivate_Dirty: 1 kB\nSwap: 0 kB\n",
		"Rss: 1 kBs\nPss: 1 kB\nPrivate_Clean: 1 kB\nPrivate_Dirty: 1 kB\nSwap: 0 kB\n",
		"Rss:\nPss: 1 kB\nPrivate_Clean: 1 kB\nPrivate_Dirty: 1 kB\nSwap: 0 kB\n",
		"Rss: 18446744073709551616 kB\nPss: 1 kB\nPrivate_Clean: 1 kB\n"
		    "Private_Dirty: 1 kB\nSwap: 0 kB\n",
	};
	size_t last = (size_t)(strstr(text, "SwapPss") - text);
	struct proctext_rollup t = {0};

	ck_assert_int_eq(proctext_rollup(text, sizeof(text) - 1, &t), 0);
	ck_assert_uint_eq(t.rss_kb, 1668);
	ck_assert_uint_eq(t.pss_kb, 228);
	ck_assert_uint_eq(t.private_clean_kb, 36);
	ck_assert_uint_eq(t.private_dirty_kb, 112);
	ck_assert_uint_eq(t.private_hugetlb_kb, 2048);
	ck_assert_uint_eq(t.swap_kb, 8);
	/* wherever it is cut before all of them are there */
	for (size_t len = 0; len < last; len++)
		ck_assert_msg(proctext_rollup(text, len, &t) == -EBADMSG, "%zu bytes", len);
	ck_assert_int_eq(proctext_rollup(text, last, &t), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_msg(proctext_rollup(bad[i], strlen(bad[i]), &t) == -EBADMSG, "%s",
		    bad[i]);
}
END_TEST

START_TEST(made_up_files)
{
	struct procmem m = PROCMEM_NONE;
	struct procmem_rollup r = { 1, 1, 1, 1 };

	put("77/statm", "765 436 408 5 0 123 0\n");
	ck_assert_int_eq(procmem_open(&m, 77), 0);
	/* a kernel without it is told apart from a process that is gone */
	ck_assert_int_eq(procmem_read_rollup(&m, &r), -ENOTSUP);
	ck_assert_uint_eq(r.uss_bytes, 1);
	put("77/smaps_rollup", text);
	ck_assert_int_eq(procmem_read_rollup(&m, &r), 0);
	ck_assert_uint_eq(r.rss_bytes, 1668 * 1024);
	ck_assert_uint_eq(r.pss_bytes, 228 * 1024);
	ck_assert_uint_eq(r.uss_bytes, (36 + 112 + 2048) * 1024);
	ck_assert_uint_eq(r.swap_bytes, 8 * 1024);
	ck_assert_int_eq(fcntl(m.rollup_fd, F_GETFD), FD_CLOEXEC);
	/* the same descriptor sees what is new */
	put("77/smaps_rollup", "Rss: 5 kB\nPss: 4 kB\nPrivate_Clean: 1 kB\nPrivate_Dirty: 2 kB\n"
	    "Swap: 0 kB\n");
	ck_assert_int_eq(procmem_read_rollup(&m, &r), 0);
	ck_assert_uint_eq(r.uss_bytes, 3 * 1024);
	put("77/smaps_rollup", "Rss: 18014398509481984 kB\nPss: 4 kB\nPrivate_Clean: 1 kB\n"
	    "Private_Dirty: 2 kB\nSwap: 0 kB\n");		/* bytes overflow */
	ck_assert_int_eq(procmem_read_rollup(&m, &r), -EBADMSG);
	put("77/smaps_rollup", "Rss: 5 kB\nPss: 4 kB\nPrivate_Clean: 9007199254740992 kB\n"
	    "Private_Dirty: 9007199254740992 kB\nSwap: 0 kB\n");
	ck_assert_int_eq(procmem_read_rollup(&m, &r), -EBADMSG);
	ck_assert_uint_eq(r.uss_bytes, 3 * 1024);
	put("77/statm", "0 0 0 0 0 0 0\n");
	put("77/smaps_rollup", "");
	ck_assert_int_eq(procmem_read_rollup(&m, &r), -ESRCH);
	procmem_close(&m);
	ck_assert_int_eq(m.rollup_fd, -1);
	ck_assert_int_eq(procmem_read_rollup(&m, &r), -EBADF);
}
END_TEST

static void
put_process(pid_t pid, pid_t pgrp)
{
	char name[64], stat[256];

	snprintf(name, sizeof(name), "%d/stat", (int)pid);
	snprintf(stat, sizeof(stat), "%d (x) S 1 %d 1 0 -1 4194560 5 6 7 8 9 10 11 12 20 0 1 "
	    "0 99 4096 1 18446744073709551615 1 1 0\n", (int)pid, (int)pgrp);
	put(name, stat);
	snprintf(name, sizeof(name), "%d/statm", (int)pid);
	put(name, "765 436 408 5 0 123 0\n");
	snprintf(name, sizeof(name), "%d/smaps_rollup", (int)pid);
	put(name, text);
}

START_TEST(made_up_groups)
{
	struct procmem_rollup sum = { .uss_bytes = 5, .pss_bytes = 7 };

	put_process(100, 100);		/* the leader is measured by its own descriptor */
	put_process(101, 100);
	put_process(102, 100);
	put_process(103, 103);
	put_process(104, 100);
	put("104/smaps_rollup", "Rss: 7");
	ck_assert_int_eq(procmem_group_rollup(100, &sum), 0);
	ck_assert_uint_eq(sum.uss_bytes, 5 + 2 * (36 + 112 + 2048) * 1024);
	ck_assert_uint_eq(sum.pss_bytes, 7 + 2 * 228 * 1024);
	ck_assert_uint_eq(sum.rss_bytes, UINT64_C(2) * 1668 * 1024);
	ck_assert_uint_eq(sum.swap_bytes, 2 * 8 * 1024);
	procmem_root = "/nonexistent";
	ck_assert_int_eq(procmem_group_rollup(100, &sum), -ENOENT);
}
END_TEST

/* A child that goes one step further with each byte it is sent, and answers. */
struct child {
	pid_t pid;
	int to, from;
};

static char *
map(size_t bytes, int flags)
{
	char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | flags, -1, 0);

	ck_assert_ptr_ne(at, MAP_FAILED);
	memset(at, 'x', bytes);
	return at;
}

static void
in_child(int in, int out, const char *shared)
{
	char c = 0;
	size_t sum = 0;

	/* pages of a mapping that is shared come when they are touched */
	for (size_t i = 0; i < 32 * MB; i += 4096)
		sum += (size_t)shared[i];
	if (sum == 0 || write(out, "1", 1) != 1 || read(in, &c, 1) != 1)
		_exit(1);
	map(16 * MB, MAP_PRIVATE);
	if (write(out, "2", 1) != 1 || read(in, &c, 1) != 1)
		_exit(1);
	/* `out` closes with it */
	dup2(in, 0);
	execl("/bin/cat", "cat", (char *)NULL);
	_exit(1);
}

static struct child
start_child(const char *shared)
{
	struct child c;
	int to[2], from[2];

	ck_assert_int_eq(pipe2(to, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(from, O_CLOEXEC), 0);
	c.pid = fork();
	ck_assert_int_ge(c.pid, 0);
	if (c.pid == 0) {
		close(to[1]);
		close(from[0]);
		in_child(to[0], from[1], shared);
	}
	close(to[0]);
	close(from[1]);
	c.to = to[1];
	c.from = from[0];
	return c;
}

START_TEST(real_process)
{
	char *shared = map(32 * MB, MAP_SHARED), *before = map(8 * MB, MAP_PRIVATE), step;
	struct child c = start_child(shared);
	struct procmem m = PROCMEM_NONE;
	struct procmem_rollup first, r;
	siginfo_t si;

	procmem_root = "/proc";
	ck_assert_int_eq(read(c.from, &step, 1), 1);
	ck_assert_int_eq(procmem_open(&m, c.pid), 0);
	ck_assert_int_eq(procmem_read_rollup(&m, &first), 0);
	/* what both map and what the fork left to both is nobody's own */
	ck_assert_uint_gt(first.rss_bytes, 32 * MB);
	ck_assert_uint_gt(first.pss_bytes, 16 * MB);
	ck_assert_uint_lt(first.pss_bytes, 32 * MB);
	ck_assert_uint_lt(first.uss_bytes, 6 * MB);

	ck_assert_int_eq(write(c.to, "x", 1), 1);
	ck_assert_int_eq(read(c.from, &step, 1), 1);
	ck_assert_int_eq(procmem_read_rollup(&m, &r), 0);
	ck_assert_uint_ge(r.uss_bytes, first.uss_bytes + 16 * MB);
	ck_assert_uint_lt(r.uss_bytes, first.uss_bytes + 18 * MB);

	/* another program: another address space, which the old descriptor does not see */
	ck_assert_int_eq(write(c.to, "x", 1), 1);
	ck_assert_int_eq(read(c.from, &step, 1), 0);
	ck_assert_int_eq(procmem_read_rollup(&m, &r), 0);
	ck_assert_uint_gt(r.rss_bytes, 0);
	ck_assert_uint_lt(r.rss_bytes, 16 * MB);

	ck_assert_int_eq(kill(c.pid, SIGKILL), 0);
	ck_assert_int_eq(waitid(P_PID, (id_t)c.pid, &si, WEXITED | WNOWAIT), 0);
	ck_assert_int_eq(procmem_read_rollup(&m, &r), -ESRCH);
	ck_assert_int_eq(waitpid(c.pid, NULL, 0), c.pid);
	ck_assert_int_eq(procmem_read_rollup(&m, &r), -ESRCH);
	procmem_close(&m);
	ck_assert_int_eq(before[0] + shared[0], 2 * 'x');
}
END_TEST

START_TEST(of_another_user)
{
	struct procmem m = PROCMEM_NONE, opened = PROCMEM_NONE;
	struct procmem_rollup r;

	if (geteuid() != 0)
		return;
	procmem_root = "/proc";
	ck_assert_int_eq(procmem_open(&opened, getppid()), 0);
	ck_assert_int_eq(procmem_read_rollup(&opened, &r), 0);
	ck_assert_int_eq(seteuid(65534), 0);
	/* statm is for everybody */
	ck_assert_int_eq(procmem_open(&m, getppid()), 0);
	ck_assert_int_eq(procmem_read_rollup(&m, &r), -EACCES);
	ck_assert_int_eq(m.rollup_fd, -1);
	/* rights are looked at when it is opened */
	ck_assert_int_eq(procmem_read_rollup(&opened, &r), 0);
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_eq(procmem_read_rollup(&m, &r), 0);
	procmem_close(&m);
	procmem_close(&opened);
}
END_TEST

static int
open_of(pid_t pid, const char *name)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_msg(fd >= 0, "%s", path);
	return fd;
}

static unsigned
count_open(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void
refuse(struct procmem *m, pid_t pid, int fd, const char *what)
{
	int before = m->rollup_fd;

	ck_assert_msg(fd >= 0, "%s", what);
	ck_assert_msg(procmem_adopt_rollup(m, pid, fd) == -EINVAL, "%s", what);
	ck_assert_msg(fcntl(fd, F_GETFD) < 0, "%s is not closed", what);
	ck_assert_int_eq(m->rollup_fd, before);
}

/* What a hostile worker may send in its place: refused and closed. */
START_TEST(what_is_not_adopted)
{
	struct child c = start_child(map(32 * MB, MAP_SHARED));
	struct procmem m = PROCMEM_NONE;
	unsigned before = count_open();
	int pipes[2], sockets[2];
	char path[128], step;

	procmem_root = "/proc";
	ck_assert_int_eq(read(c.from, &step, 1), 1);
	ck_assert_int_eq(pipe(pipes), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	refuse(&m, c.pid, pipes[0], "pipe");
	refuse(&m, c.pid, pipes[1], "other end of it");
	refuse(&m, c.pid, sockets[0], "socket");
	close(sockets[1]);
	refuse(&m, c.pid, open_of(c.pid, "statm"), "statm");
	refuse(&m, c.pid, open_of(c.pid, "smaps"), "smaps");
	refuse(&m, c.pid, open_of(c.pid, "."), "folder");
	refuse(&m, c.pid, open_of(getpid(), "smaps_rollup"), "of another process");
	refuse(&m, getpid(), open_of(c.pid, "smaps_rollup"), "of another process");
	refuse(&m, c.pid, memfd_create("smaps_rollup", 0), "memfd");
	refuse(&m, c.pid, open("/dev/zero", O_RDONLY), "device");
	snprintf(path, sizeof(path), "%s/smaps_rollup", root);
	refuse(&m, c.pid, open(path, O_RDONLY | O_CREAT, 0600), "file of that name");
	ck_assert_int_eq(procmem_adopt_rollup(&m, c.pid, -1), -EBADF);
	ck_assert_int_eq(m.statm_fd, -1);
	ck_assert_uint_eq(count_open(), before);
	/* the number of a child that is no more */
	pipes[0] = open_of(c.pid, "smaps_rollup");
	kill(c.pid, SIGKILL);
	ck_assert_int_eq(waitpid(c.pid, NULL, 0), c.pid);
	ck_assert_int_lt(procmem_adopt_rollup(&m, c.pid, pipes[0]), 0);
	ck_assert_uint_eq(count_open(), before);
}
END_TEST

/* Where this process may not open it by itself, the one that was sent is read. */
START_TEST(what_is_adopted)
{
	struct procmem m = PROCMEM_NONE;
	struct procmem_rollup r;
	pid_t pid = getppid();
	int fd, again;

	procmem_root = "/proc";
	fd = open_of(pid, "smaps_rollup");
	ck_assert_int_eq(procmem_adopt_rollup(&m, pid, fd), 0);
	ck_assert_int_ge(m.statm_fd, 0);
	/* its own is better */
	ck_assert_int_lt(fcntl(fd, F_GETFD), 0);
	ck_assert_int_eq(procmem_read_rollup(&m, &r), 0);
	procmem_close(&m);
	if (geteuid() != 0)
		return;
	fd = open_of(pid, "smaps_rollup");
	again = open_of(pid, "smaps_rollup");
	ck_assert_int_eq(seteuid(65534), 0);
	ck_assert_int_eq(procmem_adopt_rollup(&m, pid, fd), 0);
	ck_assert_int_eq(m.rollup_fd, fd);
	ck_assert_int_eq(procmem_read_rollup(&m, &r), 0);
	ck_assert_uint_gt(r.uss_bytes, 0);
	/* the last one counts */
	ck_assert_int_eq(procmem_adopt_rollup(&m, pid, again), 0);
	ck_assert_int_lt(fcntl(fd, F_GETFD), 0);
	ck_assert_int_eq(procmem_read_rollup(&m, &r), 0);
	ck_assert_int_eq(seteuid(0), 0);
	procmem_close(&m);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("all");

	tcase_set_timeout(tc, 30);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, texts);
	tcase_add_test(tc, made_up_files);
	tcase_add_test(tc, made_up_groups);
	tcase_add_test(tc, real_process);
	tcase_add_test(tc, of_another_user);
	tcase_add_test(tc, what_is_not_adopted);
	tcase_add_test(tc, what_is_adopted);
	return run_case("rollup", tc);
}
