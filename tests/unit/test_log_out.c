/*
 * test_log_out.c - writing the log never waits, and what is lost is counted.
 */
#include "log_output.h"
#include "own_files.h"
#include "run_case.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct tally {
	unsigned seen, lost, rooms;
	unsigned next;		/* lowest number that may come now */
};

static void
tally_lines(struct tally *t, char *text)
{
	char *save = NULL;

	for (char *line = strtok_r(text, "\r\n", &save); line;
	    line = strtok_r(NULL, "\r\n", &save)) {
		const char *number = strstr(line, "INFO  line number ");
		unsigned n;

		if (number && strstr(line, "for a while") && line[4] == '-' &&
		    sscanf(number, "INFO  line number %u of many", &n) == 1) {
			ck_assert_uint_ge(n, t->next);
			t->next = n + 1;
			t->seen++;
		} else if (strstr(line, "WARN ") &&
		    sscanf(strstr(line, "WARN "), "WARN %u log line", &n) == 1) {
			t->lost += n;
		} else if (strstr(line, "INFO  room again")) {
			t->rooms++;
		}
	}
}

/* Writes more than fits, reads, and expects every line or its loss to be told. */
static void
overfill_and_drain(int read_fd)
{
	struct pollfd p = { .fd = read_fd, .events = POLLIN };
	struct tally t = {0};
	unsigned written = 5000, rooms = 0;
	char *text;

	for (unsigned i = 0; i < written; i++)
		log_info("line number %u of many that nobody reads for a while", i);
	text = take_output(read_fd);
	/* a terminal hands on what it took with some delay, and not by whole lines */
	while (!strstr(text, "room again") && rooms < 100) {
		char *more, *both = NULL;

		log_info("room again");
		rooms++;
		poll(&p, 1, 100);
		more = take_output(read_fd);
		ck_assert_int_ge(asprintf(&both, "%s%s", text, more), 0);
		free(more);
		free(text);
		text = both;
	}
	tally_lines(&t, text);
	free(text);
	ck_assert_uint_gt(t.rooms, 0);
	ck_assert_uint_gt(t.seen, 0);
	ck_assert_uint_gt(t.lost, 0);
	ck_assert_uint_eq(t.seen + t.lost, written + rooms - t.rooms);
}

START_TEST(full_pipe)
{
	use_pipe();
	overfill_and_drain(ends[0]);
	ck_assert_msg(!(fcntl(ends[1], F_GETFL) & O_NONBLOCK), "the shared description changed");
}
END_TEST

static void
become_somebody_else(void)
{
	if (getuid() == 0)
		ck_assert_int_eq(seteuid(65534), 0);
}

static void
become_oneself(void)
{
	if (getuid() == 0) {
		ck_assert_int_eq(seteuid(0), 0);
		/* the leak check at the end wants to look at this process */
		prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	}
}

/* As before Linux 6.4, where a pipe cannot be written with "do not wait". */
static void
forbid_pwritev2(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pwritev2, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { ARRAY_LEN(filter), filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

/* The pipe of another user cannot be opened through /proc. */
START_TEST(full_pipe_of_somebody_else)
{
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	ck_assert_int_eq(fchmod(ends[1], 0), 0);
	if (_i)
		forbid_pwritev2();
	become_somebody_else();
	log_init(ends[1]);
	overfill_and_drain(ends[0]);
	ck_assert(!(fcntl(ends[1], F_GETFL) & O_NONBLOCK));
	become_oneself();
}
END_TEST

START_TEST(full_socket)
{
	static const int types[] = { SOCK_STREAM, SOCK_SEQPACKET };

	ck_assert_int_eq(socketpair(AF_UNIX, types[_i] | SOCK_CLOEXEC, 0, ends), 0);
	log_init(ends[1]);
	overfill_and_drain(ends[0]);
	ck_assert(!(fcntl(ends[1], F_GETFL) & O_NONBLOCK));
	/* nobody there any more: no SIGPIPE */
	close(ends[0]);
	log_info("to nobody");
}
END_TEST

static void
stall(int master, bool is_foreign)
{
	int tty = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);

	ck_assert_int_ge(tty, 0);
	if (is_foreign) {
		/* another user's, but the terminal of our session */
		signal(SIGHUP, SIG_IGN);
		ck_assert_int_ge(setsid(), 0);
		ck_assert_int_eq(ioctl(tty, TIOCSCTTY, 0), 0);
		ck_assert_int_eq(fchmod(tty, 0), 0);
		become_somebody_else();
	}
	log_init(tty);
	overfill_and_drain(master);
	ck_assert(!(fcntl(tty, F_GETFL) & O_NONBLOCK));
	close(tty);
}

START_TEST(stalled_terminal)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), status = -1;
	pid_t pid;

	if (master < 0 || unlockpt(master) < 0)
		return;		/* no pseudo-terminals here */
	/* only a process that leads no group can begin a session */
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		stall(master, _i == 1);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	close(master);
}
END_TEST

/* Somebody else's lines in between, at the shared offset, are not overwritten. */
START_TEST(shared_file)
{
	char text[512];
	int fd = own_file();
	ssize_t n;

	ck_assert_int_ge(fd, 0);
	log_init(fd);
	log_info("one");
	ck_assert_int_eq(write(fd, "two\n", 4), 4);
	log_info("three");
	log_raw("four\n", 5);
	n = pread(fd, text, sizeof(text) - 1, 0);
	ck_assert_int_gt(n, 0);
	text[n] = '\0';
	ck_assert_str_eq(after_stamp(text) + strlen("INFO  one\ntwo\n") + 24,
	    "INFO  three\nfour\n");
	close(fd);
}
END_TEST

START_TEST(raw_lines)
{
	char block[11000], *text;

	use_pipe();
	log_raw("a\nb\n", 4);
	log_raw("half", 4);
	log_raw("c\n", 2);
	log_raw("", 0);
	text = take_output(ends[0]);
	ck_assert_str_eq(text, "a\nb\nhalf\nc\n");
	free(text);
	/* only whole lines stay out of a full pipe, all of them counted */
	for (unsigned i = 0; i < 1000; i++)
		memcpy(block + i * 11, "0123456789\n", 11);
	for (unsigned i = 0; i < 80; i++)
		log_raw(block, sizeof(block));
	text = take_output(ends[0]);
	ck_assert_int_eq(text[strlen(text) - 1], '\n');
	size_t got = strlen(text) / 11;

	ck_assert_uint_eq(strlen(text) % 11, 0);
	free(text);
	log_info("x");
	text = take_output(ends[0]);
	char want[64];

	snprintf(want, sizeof(want), "WARN  %zu log lines lost", 80000 - got);
	ck_assert_msg(strstr(text, want) != NULL, "%s not in %s", want, text);
	free(text);
}
END_TEST

START_TEST(nowhere_to_write)
{
	log_init(-1);
	errno = ENOENT;
	log_info("lost");
	ck_assert_int_eq(errno, ENOENT);
	log_raw("lost\n", 5);
	use_pipe();
	log_info("found");
	char *text = take_output(ends[0]);

	ck_assert_msg(strstr(text, "2 log lines lost") != NULL, "%s", text);
	free(text);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("all");

	unsetenv("JOURNAL_STREAM");
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, full_pipe);
	tcase_add_loop_test(tc, full_pipe_of_somebody_else, 0, 2);
	tcase_add_loop_test(tc, full_socket, 0, 2);
	tcase_add_loop_test(tc, stalled_terminal, 0, 2);
	tcase_add_test(tc, shared_file);
	tcase_add_test(tc, raw_lines);
	tcase_add_test(tc, nowhere_to_write);
	return run_case("log_out", tc);
}
