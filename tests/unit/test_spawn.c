/*
 * test_spawn.c - the child is exactly what was planned.
 *
 * The child is this program again: called with --report it prints what it finds
 * itself to be, as lines KEY=VALUE, on its standard output.
 */
#include "spawn_report.h"
#include "spawn_run.h"

#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static uintmax_t
inode_of(int fd)
{
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	return (uintmax_t)st.st_ino;
}

/* Every other one is CLOEXEC. */
static void
open_pipe_at(int fd)
{
	int p[2], moved;

	ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
	moved = fcntl(p[1], F_DUPFD, 100);
	ck_assert_int_ge(moved, 0);
	close(p[0]);
	close(p[1]);
	ck_assert_int_eq(dup3(moved, fd, fd % 2 ? O_CLOEXEC : 0), fd);
	close(moved);
}

/* Sources are distinct pipes at the given numbers of this process. */
START_TEST(descriptor_maps)
{
	static const struct {
		const char *label;
		struct spawn_fd map[6];
		size_t n;
	} cases[] = {
		{ "nothing but stdout", {{0}}, 0 },
		{ "plain", {{ 20, 0 }, { 21, 2 }, { 22, 3 }}, 3 },
		{ "in place, CLOEXEC to be cleared", {{ 20, 20 }, { 21, 3 }}, 2 },
		{ "swap", {{ 20, 21 }, { 21, 20 }}, 2 },
		{ "ring of three", {{ 20, 21 }, { 21, 22 }, { 22, 20 }}, 3 },
		{ "chain up", {{ 20, 21 }, { 21, 22 }, { 22, 23 }}, 3 },
		{ "chain down", {{ 23, 22 }, { 22, 21 }, { 21, 20 }}, 3 },
		{ "one source twice", {{ 20, 3 }, { 20, 4 }, { 20, 20 }}, 3 },
		{ "target is a source that is gone before", {{ 20, 3 }, { 21, 20 }}, 2 },
		{ "far target", {{ 20, 400 }, { 21, 3 }}, 2 },
		{ "unsorted, with gaps", {{ 22, 30 }, { 20, 10 }, { 21, 5 }}, 3 },
		{ "low sources", {{ 3, 4 }, { 4, 3 }, { 5, 0 }}, 3 },
	};
	struct spawn_plan plan;
	struct spawn_fd map[8];
	uintmax_t want[8];
	size_t n = cases[_i].n;
	char key[16], value[32];

	/* whatever this process has open beyond these must not arrive */
	for (int fd = 3; fd < 40; fd++) {
		if (fcntl(fd, F_GETFD) < 0)
			open_pipe_at(fd);
	}
	plan = make_plan();
	for (size_t i = 0; i < n; i++) {
		map[i] = cases[_i].map[i];
		want[i] = inode_of(map[i].from);
	}
	map[n] = (struct spawn_fd){ out[1], 1 };
	want[n] = inode_of(out[1]);
	plan.fds = map;
	plan.n_fds = n + 1;
	run_well(&plan);
	for (size_t i = 0; i <= n; i++) {
		snprintf(key, sizeof(key), "fd%d", map[i].to);
		snprintf(value, sizeof(value), "%ju", want[i]);
		ck_assert_msg(strcmp(reported(key), value) == 0, "%s: %s is %s, not %s",
		    cases[_i].label, key, reported(key), value);
	}
	ck_assert_msg(count_reported_fds() == n + 1, "%s: more arrived:\n%s", cases[_i].label,
	    output);
}
END_TEST

/* Targets are the very numbers that a copy made without care would get. */
START_TEST(free_numbers)
{
	struct spawn_plan plan = make_plan();
	struct spawn_fd map[4];
	uintmax_t want[4];
	int number[6];
	char key[16], value[32];

	for (int i = 0; i < 4; i++) {
		map[i].from = i ? 40 + i : out[1];
		if (i)
			open_pipe_at(map[i].from);
		want[i] = inode_of(map[i].from);
	}
	for (int i = 0; i < 6; i++)
		number[i] = fcntl(0, F_DUPFD_CLOEXEC, 0);
	for (int i = 0; i < 6; i++)
		close(number[i]);
	for (int i = 1; i < 4; i++)
		map[i].to = number[i + 2];
	map[0].to = 1;
	plan.fds = map;
	plan.n_fds = 4;
	run_well(&plan);
	for (int i = 0; i < 4; i++) {
		snprintf(key, sizeof(key), "fd%d", map[i].to);
		snprintf(value, sizeof(value), "%ju", want[i]);
		ck_assert_str_eq(reported(key), value);
	}
	ck_assert_uint_eq(count_reported_fds(), 4);
}
END_TEST

/* The channel is passed on too, to the number where it is. */
START_TEST(error_channel_passed_on)
{
	struct spawn_plan plan = make_plan();
	struct spawn_fd map[] = { { out[1], 1 }, { channel[1], channel[1] } };
	uintmax_t inode = inode_of(channel[1]);
	char key[16], value[32];

	snprintf(key, sizeof(key), "fd%d", channel[1]);
	snprintf(value, sizeof(value), "%ju", inode);
	plan.fds = map;
	plan.n_fds = 2;
	run_well(&plan);
	ck_assert_str_eq(reported(key), value);
	ck_assert_uint_eq(count_reported_fds(), 2);
}
END_TEST

/* As on an old kernel, or in a container whose filter does not know the call. */
START_TEST(without_close_range)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close_range, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (_i ? EPERM : ENOSYS)),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { ARRAY_LEN(filter), filter };
	struct spawn_plan plan;
	struct spawn_fd map[3];

	for (int i = 0; i < 20; i++)
		ck_assert_int_ge(open("/dev/null", O_RDONLY), 0);
	ck_assert_int_ge(fcntl(0, F_DUPFD, 200), 200);
	plan = make_plan();
	map[0] = only_stdout[0];
	map[1] = (struct spawn_fd){ 0, 9 };
	map[2] = (struct spawn_fd){ 0, 5 };
	plan.fds = map;
	plan.n_fds = 3;
	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)
		return;		/* no filters here */
	run_well(&plan);
	ck_assert_msg(count_reported_fds() == 3, "%s", output);
}
END_TEST

START_TEST(environment)
{
	char *const envp[] = {
		(char[]){ "A=1" }, (char[]){ "LISTEN_PID=0000000000" }, (char[]){ "B=x y" }, NULL,
	};
	struct spawn_plan plan = make_plan();
	char pid[16];

	setenv("NOT_FOR_CHILDREN", "1", 1);
	plan.envp = envp;
	run_well(&plan);
	snprintf(pid, sizeof(pid), "%d", atoi(reported("pid")));
	ck_assert_str_eq(reported("env:LISTEN_PID"), pid);
	ck_assert_str_eq(reported("env:A"), "1");
	ck_assert_str_eq(reported("env:B"), "x y");
	ck_assert_str_eq(reported("env:NOT_FOR_CHILDREN"), "");
	ck_assert_str_eq(envp[1], "LISTEN_PID=0000000000");
}
END_TEST

static void
on_signal(int sig UNUSED)
{
}

START_TEST(signals)
{
	struct spawn_plan plan = make_plan();
	sigset_t some, now;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, on_signal);
	signal(SIGRTMIN + 3, SIG_IGN);
	sigemptyset(&some);
	sigaddset(&some, SIGTERM);
	sigaddset(&some, SIGCHLD);
	sigprocmask(SIG_SETMASK, &some, NULL);
	run_well(&plan);
	ck_assert_str_eq(reported("SigBlk"), "0000000000000000");
	ck_assert_str_eq(reported("SigIgn"), "0000000000000000");
	/* and here it is as it was */
	sigprocmask(SIG_SETMASK, NULL, &now);
	ck_assert_int_eq(sigismember(&now, SIGTERM), 1);
	ck_assert_int_eq(sigismember(&now, SIGCHLD), 1);
	ck_assert_int_eq(sigismember(&now, SIGUSR1), 0);
}
END_TEST

START_TEST(attributes)
{
	struct spawn_plan plan = make_plan();
	struct spawn_fd map[] = { { out[1], 1 }, { out[1], 50 } };
	int before = 0;
	char want[64];
	FILE *f = fopen("/proc/self/oom_score_adj", "re");

	ck_assert(f && fscanf(f, "%d", &before) == 1);
	fclose(f);
	plan.own_group = true;
	plan.death_signal = SIGTERM;
	plan.has_umask = true;
	plan.umask = 027;
	plan.chdir = "/usr";
	plan.has_nofile = true;
	plan.nofile = (struct rlimit){ 12, 200 };	/* lower than what is moved about */
	plan.fds = map;
	plan.n_fds = 2;
	plan.has_as = true;
	plan.as = (struct rlimit){ UINT64_C(1) << 46, RLIM_INFINITY };
	plan.has_oom_score_adjust = true;
	plan.oom_score_adjust = 100;
	run_well(&plan);
	snprintf(want, sizeof(want), "%d", atoi(reported("pid")));
	ck_assert_str_eq(reported("pgrp"), want);
	snprintf(want, sizeof(want), "%d", getpid());
	ck_assert_str_eq(reported("ppid"), want);
	snprintf(want, sizeof(want), "%d", SIGTERM);
	ck_assert_str_eq(reported("deathsig"), want);
	ck_assert_str_eq(reported("umask"), "027");
	ck_assert_str_eq(reported("cwd"), "/usr");
	ck_assert_str_eq(reported("nofile"), "12,200");
	ck_assert_str_eq(reported("as"), "70368744177664");
	ck_assert_str_eq(reported("CapAmb"), "0000000000000000");
	snprintf(want, sizeof(want), "%d", MIN_OF(before + 100, 1000));
	ck_assert_str_eq(reported("oom"), want);
}
END_TEST

START_TEST(attributes_left_alone)
{
	struct spawn_plan plan = make_plan();
	char want[64], cwd[512];
	int before = 0;
	FILE *f = fopen("/proc/self/oom_score_adj", "re");

	ck_assert(f && fscanf(f, "%d", &before) == 1);
	fclose(f);
	plan.has_oom_score_adjust = true;
	plan.oom_score_adjust = -500;
	umask(012);
	run_well(&plan);
	snprintf(want, sizeof(want), "%d", getpgrp());
	ck_assert_str_eq(reported("pgrp"), want);
	ck_assert_str_eq(reported("deathsig"), "0");
	ck_assert_str_eq(reported("umask"), "012");
	ck_assert_str_eq(reported("cwd"), getcwd(cwd, sizeof(cwd)));
	snprintf(want, sizeof(want), "%d", before);
	ck_assert_str_eq(reported("oom"), want);
}
END_TEST

/* A child whose parent is gone dies with it. */
START_TEST(death_of_the_parent)
{
	struct spawn_plan plan = make_plan();
	char *const argv[] = { (char[]){ "sleep" }, (char[]){ "60" }, NULL };
	struct pollfd p = { .fd = out[0], .events = POLLIN };
	pid_t middle = fork();

	ck_assert_int_ge(middle, 0);
	if (middle == 0) {
		plan.program = "/bin/sleep";
		plan.argv = argv;
		plan.death_signal = SIGKILL;
		if (spawn(&plan, NULL) <= 0)
			_exit(1);
		/* wait until it is past exec: the channel is closed then */
		close(channel[1]);
		while (recv(channel[0], failure, sizeof(failure), 0) > 0)
			;
		_exit(0);
	}
	close(out[1]);
	close(channel[1]);
	int status = 1;

	ck_assert_int_eq(waitpid(middle, &status, 0), middle);
	ck_assert_int_eq(status, 0);
	/* the last holder of the pipe is the grandchild */
	ck_assert_int_eq(poll(&p, 1, 10000), 1);
	ck_assert_int_eq(read(out[0], failure, 1), 0);
}
END_TEST

START_TEST(identities)
{
	struct spawn_plan plan = make_plan();
	gid_t groups[] = { 65534, 50, 60 };

	if (geteuid() != 0)
		return;
	plan.has_ids = true;
	plan.uid = 65534;
	plan.gid = 65533;
	plan.groups = groups;
	plan.n_groups = 3;
	plan.death_signal = SIGKILL;	/* survives the change of user */
	run_well(&plan);
	ck_assert_str_eq(reported("uid"), "65534");
	ck_assert_str_eq(reported("gid"), "65533");
	ck_assert_str_eq(reported("groups"), "50,60,65534,");
	ck_assert_str_eq(reported("CapEff"), "0000000000000000");
	ck_assert_str_eq(reported("deathsig"), "9");
}
END_TEST

/* Without privileges the own identity is no error, another one is. */
START_TEST(identities_without_privileges)
{
	struct spawn_plan plan;
	gid_t group = 65534;

	if (geteuid() != 0)
		return;
	ck_assert_int_eq(setgroups(1, &group), 0);
	ck_assert_int_eq(setresgid(65534, 65534, 65534), 0);
	ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	plan = make_plan();
	plan.has_ids = true;
	plan.uid = 65534;
	plan.gid = 65534;
	plan.program = "/bin/true";
	run_well(&plan);

	plan = make_plan();
	plan.has_ids = true;
	plan.uid = 1;
	plan.gid = 1;
	ck_assert_int_eq(WEXITSTATUS(run(&plan)), 127);
	ck_assert_str_eq(failure,
	    "ERROR=cannot set the supplementary groups: Operation not permitted");
}
END_TEST

int
main(int argc, char **argv)
{
	Suite *s = suite_create("spawn");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	if (argc > 1 && strcmp(argv[1], "--report") == 0)
		report();
	tcase_set_timeout(tc, 30);
	tcase_add_loop_test(tc, descriptor_maps, 0, 12);
	tcase_add_test(tc, free_numbers);
	tcase_add_test(tc, error_channel_passed_on);
	tcase_add_loop_test(tc, without_close_range, 0, 2);
	tcase_add_test(tc, environment);
	tcase_add_test(tc, signals);
	tcase_add_test(tc, attributes);
	tcase_add_test(tc, attributes_left_alone);
	tcase_add_test(tc, death_of_the_parent);
	tcase_add_test(tc, identities);
	tcase_add_test(tc, identities_without_privileges);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
