/*
 * test_pressure.c - pressure files, made up and the kernel's.
 *
 * SPDX-License-Identifier: MIT
 */
#include "system/pressure.h"

#include "made_up.h"
#include "run_case.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALM  "some avg10=0.00 avg60=0.00 avg300=0.00 total=100\n" \
	"full avg10=0.00 avg60=0.00 avg300=0.00 total=5\n"
#define TIGHT "some avg10=12.34 avg60=2.05 avg300=0.00 total=5100\n" \
	"full avg10=1.00 avg60=0.00 avg300=0.00 total=500\n"

START_TEST(texts)
{
	static const struct {
		const char *text;
		bool ok;
		uint64_t avg10, avg60, total;
	} cases[] = {
		{ CALM, true, 0, 0, 100 },
		{ TIGHT, true, 1234, 205, 5100 },
		{ "some avg10=100.00 avg60=99.99 avg300=0.00 total=0\n", true, 10000, 9999, 0 },
		{ "full avg10=0.00 avg60=0.00 avg300=0.00 total=5\n", false, 0, 0, 0 },
		{ "some avg10=0.00 avg60=0.00 avg300=0.00 total=10", false, 0, 0, 0 },
		{ "some avg10=0.0 avg60=0.00 avg300=0.00 total=10\n", false, 0, 0, 0 },
		{ "some avg10=101.00 avg60=0.00 avg300=0.00 total=10\n", false, 0, 0, 0 },
		{ "some avg60=1.00 avg10=0.00 avg300=0.00 total=10\n", false, 0, 0, 0 },
		{ "some avg10=1.00 avg60=0.00 total=10\n", false, 0, 0, 0 },
		{ "some avg10=1.00 avg60=0.00 avg300=0.00 total=x\n", false, 0, 0, 0 },
		{ "", false, 0, 0, 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct proctext_pressure p = { .avg10 = 7 };
		int r = proctext_pressure(cases[i].text, strlen(cases[i].text), &p);

		ck_assert_msg(r == (cases[i].ok ? 0 : -EBADMSG), "%zu: %d", i, r);
		ck_assert_uint_eq(p.avg10, cases[i].ok ? cases[i].avg10 : 7);
		ck_assert_uint_eq(p.avg60, cases[i].avg60);
		ck_assert_uint_eq(p.total_us, cases[i].total);
	}
}
END_TEST

/* A made-up file takes no trigger: it can only be read. */
START_TEST(files)
{
	static const struct {
		const char *label, *membership, *file, *text;
		int want;
	} cases[] = {
		{ "own group", "0::/a/b\n", "a/b/memory.pressure", TIGHT, 0 },
		{ "root of the mount", "0::/\n", "memory.pressure", TIGHT, 0 },
		{ "hybrid", "4:memory:/x\n0::/a\n", "unified/a/memory.pressure", TIGHT, 0 },
		{ "machine", "4:memory:/x\n", "pressure/memory", TIGHT, 0 },
		{ "no cgroup", "", "pressure/memory", TIGHT, 0 },
		{ "none", "0::/a\n", "a/memory.current", "5\n", -ENOENT },
		{ "strange", "", "pressure/memory", "some\n", -EBADMSG },
	};
	struct pressure p;
	struct proctext_pressure now;
	char want[256], was[256];
	FILE *f;
	int r;

	put("self/cgroup", cases[_i].membership);
	put(cases[_i].file, cases[_i].text);
	r = pressure_open(&p);
	ck_assert_msg(r == cases[_i].want, "%s: %d", cases[_i].label, r);
	if (r < 0) {
		ck_assert_int_eq(p.fd, -1);
		ck_assert_int_eq(pressure_read(&p, &now), -ENODEV);
		ck_assert_int_eq(pressure_take(&p), -ENODEV);
		pressure_close(&p);
		return;
	}
	snprintf(want, sizeof(want), "%s/%s", root, cases[_i].file);
	ck_assert_str_eq(p.path, want);
	ck_assert_int_eq(p.fd, -1);
	ck_assert_int_eq(pressure_read(&p, &now), 0);
	ck_assert_uint_eq(now.avg10, 1234);
	ck_assert(now.avg10 >= PRESSURE_AVG10);
	put(cases[_i].file, CALM);
	ck_assert_int_eq(pressure_read(&p, &now), 0);
	ck_assert_uint_eq(now.avg10, 0);
	put(cases[_i].file, "");
	ck_assert_int_eq(pressure_read(&p, &now), -EBADMSG);
	put(cases[_i].file, TIGHT);
	pressure_close(&p);
	/* and nothing was written into it */
	ck_assert_int_eq(pressure_open(&p), 0);
	pressure_close(&p);
	f = fopen(want, "r");
	ck_assert_ptr_nonnull(f);
	ck_assert_ptr_nonnull(fgets(was, sizeof(was), f));
	fclose(f);
	ck_assert_int_eq(strncmp(was, TIGHT, strlen(was)), 0);
}
END_TEST

/* The group's file is there but switched off: the machine's is taken. */
START_TEST(group_without)
{
	struct pressure p;
	char want[256];

	put("self/cgroup", "0::/a\n");
	put("a/memory.pressure", "");
	put("pressure/memory", CALM);
	ck_assert_int_eq(pressure_open(&p), 0);
	snprintf(want, sizeof(want), "%s/pressure/memory", root);
	ck_assert_str_eq(p.path, want);
	pressure_close(&p);
}
END_TEST

/* The kernel's file is always readable and writable; the set that we give away is not. */
START_TEST(quiet_here)
{
	struct proctext_pressure now;
	struct pressure p;
	struct pollfd pfd;
	int r, wakes = 0, outer;
	struct epoll_event ev = { .events = EPOLLIN };

	procmem_root = "/proc";
	cgroup_root = "/sys/fs/cgroup";
	r = pressure_open(&p);
	if (r == -ENOENT) {
		fprintf(stderr, "skipped: this kernel has no PSI\n");
		return;
	}
	ck_assert_int_eq(r, 0);
	ck_assert_int_eq(pressure_read(&p, &now), 0);
	if (p.fd < 0) {
		fprintf(stderr, "skipped: no trigger is allowed on %s\n", p.path);
		pressure_close(&p);
		return;
	}
	/* so does the loop wait */
	outer = epoll_create1(EPOLL_CLOEXEC);
	ck_assert_int_ge(outer, 0);
	ck_assert_int_eq(epoll_ctl(outer, EPOLL_CTL_ADD, p.fd, &ev), 0);
	for (int i = 0; i < 100; i++) {
		if (epoll_wait(outer, &ev, 1, 3) == 0)
			continue;
		wakes++;
		r = pressure_take(&p);
		ck_assert_msg(r == 0 || r == 1, "%d", r);
	}
	ck_assert_msg(wakes <= 2, "%d times within a third of a second", wakes);
	pfd = (struct pollfd){ .fd = p.trigger_fd, .events = POLLIN };
	ck_assert_int_eq(poll(&pfd, 1, 0), 1);
	close(outer);
	pressure_close(&p);
	ck_assert_int_eq(p.fd, -1);
}
END_TEST

#define READERS    8
#define FILE_PAGES 6144		/* 24 MB in all, half as much again as the group may have */
#define FILE_LIMIT "16777216"
#define PRESSED_S  30

static bool
write_to(const char *dir, const char *name, const char *text)
{
	char path[PATH_MAX + 64];
	AUTO_CLOSE int fd = -1;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* A group below our own, in v2 (for its pressure) or where the memory is limited. */
static bool
make_group(bool v2, char dir[static PATH_MAX + 64])
{
	struct cgroup_place place;

	for (unsigned i = 0; cgroup_find("memory", i, &place) == 0; i++) {
		snprintf(dir, PATH_MAX + 64, "%s/pfd-pressure-%d", place.dir, (int)getpid());
		if (place.is_v2 != v2 || mkdir(dir, 0755) < 0)
			continue;
		if (!v2 || access(strcat(dir, "/memory.pressure"), F_OK) == 0) {
			if (v2)
				*strrchr(dir, '/') = '\0';
			return true;
		}
		*strrchr(dir, '/') = '\0';
		rmdir(dir);
	}
	return false;
}

/* Fills a file of its own, so that its pages count in the group that it is in, and reads them at
 * random, for ever: those that were dropped a moment ago as well. */
static NO_RETURN void
read_for_ever(void)
{
	char page[4096] = "x";
	int fd = own_file();
	unsigned seed = (unsigned)getpid();

	if (fd < 0)
		_exit(1);
	for (int i = 0; i < FILE_PAGES / READERS; i++)
		if (write(fd, page, sizeof(page)) != sizeof(page))
			_exit(1);
	if (fsync(fd) < 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM) != 0)
		_exit(1);
	for (;;) {
		seed = seed * 1103515245u + 12345u;
		if (pread(fd, page, sizeof(page),
		    (off_t)(seed >> 8) % (FILE_PAGES / READERS) * 4096) < 0)
			_exit(1);
	}
}

static int
start_readers(const char *pressed, const char *limited, pid_t *pids)
{
	for (int i = 0; i < READERS; i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			return -1;
		if (pids[i] > 0)
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!write_to(pressed, "cgroup.procs", "0") ||
		    (strcmp(pressed, limited) != 0 && !write_to(limited, "cgroup.procs", "0")))
			_exit(1);
		read_for_ever();
	}
	return 0;
}

/* Processes that wait for memory in a group of a few MB, and then the end of that group. */
START_TEST(pressed_here)
{
	char pressed[PATH_MAX + 64], limited[PATH_MAX + 64];
	struct pressure p = PRESSURE_NONE;
	struct proctext_pressure waited = {0};
	struct epoll_event ev = { .events = EPOLLIN };
	pid_t pids[READERS] = {0};
	bool split, limits;
	int outer = -1, r = -1;

	procmem_root = "/proc";
	cgroup_root = "/sys/fs/cgroup";
	if (!make_group(true, pressed)) {
		fprintf(stderr, "skipped: no group of v2 can be made\n");
		return;
	}
	strcpy(limited, pressed);
	limits = write_to(limited, "memory.max", FILE_LIMIT);
	split = !limits && make_group(false, limited);
	limits = limits || (split && write_to(limited, "memory.limit_in_bytes", FILE_LIMIT));
	/* as if we were in it: the group of this process is that of its readers */
	put("self/cgroup", "0::/\n");
	cgroup_root = pressed;
	procmem_root = root;
	if (limits && pressure_open(&p) == 0 && p.fd >= 0) {
		outer = epoll_create1(EPOLL_CLOEXEC);
		ck_assert_int_ge(outer, 0);
		ck_assert_int_eq(epoll_ctl(outer, EPOLL_CTL_ADD, p.fd, &ev), 0);
		r = start_readers(pressed, limited, pids);
		for (int i = 0; r == 0 && i < 2 * PRESSED_S; i++)
			if (epoll_wait(outer, &ev, 1, 500) == 1)
				r = pressure_take(&p);
		(void)pressure_read(&p, &waited);
	}
	for (int i = 0; i < READERS; i++)
		if (pids[i] > 0) {
			kill(pids[i], SIGKILL);
			waitpid(pids[i], NULL, 0);
		}
	ck_assert_int_eq(rmdir(pressed), 0);
	if (split)
		ck_assert_int_eq(rmdir(limited), 0);
	if (p.fd < 0) {
		fprintf(stderr, "skipped: no limit or no trigger in a group of our own\n");
		pressure_close(&p);
		return;
	}
	/* readers that wait for a disk all the time do not wait for memory */
	if (r == 0 && waited.total_us < PRESSED_S * USEC_PER_SEC / 100 * PRESSURE_SOME)
		fprintf(stderr, "skipped: the readers did not have to wait for memory\n");
	else
		ck_assert_msg(r == 1, "no pressure: %d", r);
	ck_assert_int_eq(epoll_wait(outer, &ev, 1, 5000), 1);
	ck_assert_int_eq(pressure_take(&p), -ENODEV);
	close(outer);
	pressure_close(&p);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("all");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, texts);
	tcase_add_loop_test(tc, files, 0, 7);
	tcase_add_test(tc, group_without);
	tcase_add_test(tc, quiet_here);
	tcase_add_test(tc, pressed_here);
	return run_case("pressure", tc);
}
