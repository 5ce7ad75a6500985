/*
 * test_exec.c - programs are found as a shell finds them, and what fails is told.
 */
#include "own_files.h"
#include "spawn_run.h"

#include <signal.h>
#include <sys/prctl.h>

/* The target of the map is where the channel's own end is. */
START_TEST(error_channel_in_the_way)
{
	struct spawn_plan plan = make_plan();
	struct spawn_fd map[] = { { out[1], 1 }, { out[0], channel[1] } };

	plan.fds = map;
	plan.n_fds = 2;
	plan.program = "/nonexistent/program";
	ck_assert_int_eq(WEXITSTATUS(run(&plan)), 127);
	ck_assert_str_eq(failure, "ERROR=cannot run '/nonexistent/program': "
	    "No such file or directory");
}
END_TEST

static char dir[OWN_PATH_MAX];

static void
make_file(const char *name, const char *text, mode_t mode)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	fchmod(fd, mode);
	close(fd);
}

static void
make_folder(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s%s", dir, name);
	ck_assert_int_eq(mkdir(path, 0755), 0);
}

/* %D stands for the test's folder. */
static void
expand(char *dst, size_t size, const char *text)
{
	size_t n = 0;

	for (; *text && n < size - 1; text++) {
		if (text[0] == '%' && text[1] == 'D') {
			n += (size_t)snprintf(dst + n, size - n, "%s", dir);
			text++;
		} else {
			dst[n++] = *text;
		}
	}
	dst[n] = '\0';
}

#define ECHO "#!/bin/sh\necho "

START_TEST(program_search)
{
	static const struct {
		const char *program, *path;
		const char *output;	/* of the program found, or NULL */
		const char *failure;
	} cases[] = {
		{ "prog", "%D/one:%D/two", "one\n", NULL },
		{ "prog", "%D/two:%D/one", "two\n", NULL },
		{ "prog", "%D/none:%D/file:%D/one", "one\n", NULL },
		{ "prog", "%D/noexec:%D/two", "two\n", NULL },
		{ "prog", ":", "here\n", NULL },
		{ "prog", "%D/none:", "here\n", NULL },
		{ "./prog", "%D/one", "here\n", NULL },
		{ "one/prog", "", "one\n", NULL },
		{ "prog", "%D/noexec:%D/none", NULL, "ERROR=cannot run '%D/noexec/prog': "
		    "Permission denied (not executable, or a folder above it cannot be entered)" },
		{ "%D/noexec/prog", NULL, NULL, "ERROR=cannot run '%D/noexec/prog': "
		    "Permission denied (not executable, or a folder above it cannot be entered)" },
		{ "nothing", "%D/one:%D/two", NULL, "ERROR=cannot run 'nothing': "
		    "No such file or directory (not found in PATH)" },
		{ "%D/nothing", NULL, NULL, "ERROR=cannot run '%D/nothing': "
		    "No such file or directory" },
		{ "%D/file/x", NULL, NULL, "ERROR=cannot run '%D/file/x': Not a directory" },
		{ "plain", "%D/one:%D/two", NULL, "ERROR=cannot run '%D/one/plain': "
		    "Exec format error (no binary for this machine, and a script needs #! in its "
		    "first line)" },
		{ "lost", "%D/one:%D/two", NULL, "ERROR=cannot run '%D/one/lost': "
		    "No such file or directory (its interpreter, named in the first line or for "
		    "this architecture, does not exist)" },
		{ "new\nline\\x", "%D/one", NULL, "ERROR=cannot run 'new\\nline\\\\x': "
		    "No such file or directory (not found in PATH)" },
	};
	struct spawn_plan plan;
	char path[512], program[512], want[1024];
	int status;

	own_folder(dir);
	make_folder("/one");
	make_folder("/two");
	make_folder("/noexec");
	make_file("file", "", 0644);
	make_file("prog", ECHO "here\n", 0755);
	make_file("one/prog", ECHO "one\n", 0755);
	make_file("two/prog", ECHO "two\n", 0755);
	make_file("noexec/prog", ECHO "never\n", 0644);
	make_file("one/plain", "echo never\n", 0755);
	make_file("two/plain", ECHO "never\n", 0755);
	make_file("one/lost", "#!/nonexistent/interpreter\n", 0755);

	plan = make_plan();
	expand(program, sizeof(program), cases[_i].program);
	expand(path, sizeof(path), cases[_i].path ? cases[_i].path : "");
	plan.program = program;
	plan.path_env = cases[_i].path ? path : NULL;
	plan.chdir = dir;
	status = run(&plan);
	if (cases[_i].output) {
		ck_assert_str_eq(failure, "");
		ck_assert_int_eq(status, 0);
		ck_assert_str_eq(output, cases[_i].output);
	} else {
		expand(want, sizeof(want), cases[_i].failure);
		ck_assert_str_eq(failure, want);
		ck_assert_int_eq(WEXITSTATUS(status), 127);
	}
	own_folder_remove(dir);
}
END_TEST

START_TEST(default_path)
{
	struct spawn_plan plan = make_plan();
	char *const argv[] = {
		(char[]){ "sh" }, (char[]){ "-c" }, (char[]){ "echo \"$0\"" }, NULL,
	};

	setenv("PATH", "/nonexistent", 1);
	plan.program = "sh";
	plan.argv = argv;
	run_well(&plan);
	ck_assert_str_eq(output, "sh\n");
}
END_TEST

enum broken { BAD_CHDIR, BAD_NOFILE, BAD_AS, BAD_SIGNAL, BAD_GROUPS, BAD_TARGET, N_BROKEN };

START_TEST(failing_steps)
{
	static const char *const wants[] = {
		[BAD_CHDIR] = ("ERROR=cannot change to the folder '/nonexistent': "
		    "No such file or directory"),
		[BAD_NOFILE] = "ERROR=cannot set limit-nofile: Invalid argument",
		[BAD_AS] = "ERROR=cannot set limit-as: Invalid argument",
		[BAD_SIGNAL] = "ERROR=cannot set the death signal: Invalid argument",
		[BAD_GROUPS] = "ERROR=cannot set the supplementary groups: Invalid argument",
		[BAD_TARGET] = "ERROR=cannot copy the channel: Invalid argument",
	};
	struct spawn_plan plan = make_plan();
	struct spawn_fd far[] = { { 0, 1 << 30 } };
	gid_t group = 1;

	switch ((enum broken)_i) {
	case BAD_CHDIR:
		plan.chdir = "/nonexistent";
		break;
	case BAD_NOFILE:
		plan.has_nofile = true;
		plan.nofile = (struct rlimit){ 20, 10 };
		break;
	case BAD_AS:
		plan.has_as = true;
		plan.as = (struct rlimit){ 20, 10 };
		break;
	case BAD_SIGNAL:
		plan.death_signal = 1000;
		break;
	case BAD_GROUPS:
		if (geteuid() != 0)
			return;
		plan.has_ids = true;
		plan.uid = 1;
		plan.groups = &group;
		plan.n_groups = 1 << 20;	/* refused before any is looked at */
		break;
	case BAD_TARGET:
		plan.fds = far;
		break;
	case N_BROKEN:
		break;
	}
	int status = run(&plan);

	ck_assert_str_eq(failure, wants[_i]);
	ck_assert_int_eq(WEXITSTATUS(status), 127);
}
END_TEST

START_TEST(plans_refused)
{
	struct err e = {0};
	struct spawn_plan plan = make_plan();
	struct spawn_fd twice[] = { { 0, 5 }, { 1, 4 }, { 2, 5 } };
	struct spawn_fd negative[] = { { 0, -1 } };
	struct spawn_fd closed[] = { { 900, 3 } };

	plan.fds = twice;
	plan.n_fds = 3;
	ck_assert_int_eq(spawn(&plan, &e), -EINVAL);
	ck_assert_str_eq(e.text, "two descriptors for number 5 of a child");
	plan.fds = negative;
	plan.n_fds = 1;
	ck_assert_int_eq(spawn(&plan, &e), -EINVAL);
	plan.fds = closed;
	ck_assert_int_eq(spawn(&plan, &e), -EBADF);
	ck_assert_msg(strstr(e.text, "900") != NULL, "%s", e.text);
	plan.n_fds = 0;
	plan.error_fd = 901;
	ck_assert_int_eq(spawn(&plan, &e), -EBADF);
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
	ck_assert_int_eq(errno, ECHILD);
}
END_TEST

START_TEST(no_process_to_be_had)
{
	struct rlimit before, none;
	struct spawn_plan plan = make_plan();
	struct err e = {0};
	sigset_t now;

	if (geteuid() == 0)
		ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	ck_assert_int_eq(getrlimit(RLIMIT_NPROC, &before), 0);
	none = (struct rlimit){ 0, before.rlim_max };
	ck_assert_int_eq(setrlimit(RLIMIT_NPROC, &none), 0);
	ck_assert_int_eq(spawn(&plan, &e), -EAGAIN);
	ck_assert_msg(strstr(e.text, "TasksMax=") != NULL, "%s", e.text);
	sigprocmask(SIG_SETMASK, NULL, &now);
	ck_assert_int_eq(sigismember(&now, SIGTERM), 0);
	ck_assert_int_eq(setrlimit(RLIMIT_NPROC, &before), 0);
}
END_TEST

START_TEST(without_error_channel)
{
	struct spawn_plan plan = make_plan();

	plan.error_fd = -1;
	plan.program = "/nonexistent";
	ck_assert_int_eq(WEXITSTATUS(run(&plan)), 127);
	ck_assert_str_eq(failure, "");
}
END_TEST

int
main(int argc, char **argv UNUSED)
{
	Suite *s = suite_create("exec");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	/* the child of a plan that was meant to fail */
	if (argc > 1)
		return 0;
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, error_channel_in_the_way);
	tcase_add_loop_test(tc, program_search, 0, 16);
	tcase_add_test(tc, default_path);
	tcase_add_loop_test(tc, failing_steps, 0, N_BROKEN);
	tcase_add_test(tc, plans_refused);
	tcase_add_test(tc, no_process_to_be_had);
	tcase_add_test(tc, without_error_channel);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
