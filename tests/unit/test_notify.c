/*
 * test_notify.c - what arrives at a service manager's and at a journal's socket.
 */
#include "system/notify.h"

#include "own_files.h"
#include "run_case.h"

#include <check.h>
#include <endian.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

static char dir[OWN_PATH_MAX], path[96];
static int manager = -1;
static char message[16384];

static int
open_socket(const char *name)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	size_t len = strlen(name);

	ck_assert_int_ge(fd, 0);
	memcpy(addr.sun_path, name, len + 1);
	if (name[0] == '@')
		addr.sun_path[0] = '\0';
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr,
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (name[0] != '@'))), 0);
	return fd;
}

static void
setup(void)
{
	own_folder(dir);
	snprintf(path, sizeof(path), "%s/socket", dir);
	manager = open_socket(path);
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	unsetenv("JOURNAL_STREAM");
	setenv("NOTIFY_SOCKET", path, 1);
}

static void
teardown(void)
{
	close(manager);
	own_folder_remove(dir);
}

/* The next datagram, "" when there is none. */
static const char *
receive(int fd)
{
	ssize_t n = recv(fd, message, sizeof(message) - 1, MSG_DONTWAIT);

	message[MAX_OF(n, 0)] = '\0';
	return message;
}

START_TEST(messages)
{
	notify_init();
	ck_assert_ptr_null(getenv("NOTIFY_SOCKET"));
	ck_assert_uint_eq(notify_watchdog_ms(), 0);
	notify_ready("2 workers");
	ck_assert_str_eq(receive(manager), "READY=1\nSTATUS=2 workers\n");
	notify_ready(NULL);
	ck_assert_str_eq(receive(manager), "READY=1\n");
	notify_status("all\nis\twell\nREADY=1");
	ck_assert_str_eq(receive(manager), "STATUS=all is well READY=1\n");
	notify_status("");
	ck_assert_str_eq(receive(manager), "STATUS=\n");
	notify_stopping(NULL);
	ck_assert_str_eq(receive(manager), "STOPPING=1\n");
	notify_extend_timeout(30000);
	ck_assert_str_eq(receive(manager), "EXTEND_TIMEOUT_USEC=30000000\n");
	notify_watchdog();
	ck_assert_str_eq(receive(manager), "WATCHDOG=1\n");
	ck_assert_str_eq(receive(manager), "");
}
END_TEST

START_TEST(reloading)
{
	struct timespec now;
	uintmax_t usec = 0, limit;
	int n = 0;

	notify_init();
	notify_reloading("generation 2");
	receive(manager);
	ck_assert_int_eq(sscanf(message, "RELOADING=1\nMONOTONIC_USEC=%ju\n%n", &usec, &n), 1);
	ck_assert_str_eq(message + n, "STATUS=generation 2\n");
	clock_gettime(CLOCK_MONOTONIC, &now);
	limit = (uintmax_t)now.tv_sec * 1000000 + (uintmax_t)now.tv_nsec / 1000;
	ck_assert_uint_le(usec, limit);
	ck_assert_uint_gt(usec + 10000000, limit);
}
END_TEST

/* Long ones are cut, but never within a character. */
START_TEST(long_status)
{
	char status[2001];
	size_t len;

	for (size_t i = 0; i < 2000; i++)
		status[i] = i % 2 == (size_t)_i ? '\303' : '\274';
	if (_i)
		status[0] = 'x';
	status[2000] = '\0';
	notify_init();
	notify_status(status);
	len = strlen(receive(manager));
	ck_assert_uint_gt(len, 400);
	ck_assert_uint_lt(len, 600);
	ck_assert_int_eq(message[len - 1], '\n');
	ck_assert_int_eq((unsigned char)message[len - 2], 0xbc);
}
END_TEST

START_TEST(watchdog)
{
	static const struct {
		const char *usec;
		int pid;		/* 0: not set, 1: ours, 2: another */
		uint64_t want;
	} cases[] = {
		{ "30000000", 1, 15000 }, { "30000000", 0, 15000 }, { "30000000", 2, 0 },
		{ "x", 1, 0 }, { "", 1, 0 }, { "-5", 1, 0 }, { NULL, 1, 0 },
		{ "99999999999999999999999", 1, 0 }, { "3000", 1, 1 },
	};
	char pid[16];

	if (cases[_i].usec)
		setenv("WATCHDOG_USEC", cases[_i].usec, 1);
	snprintf(pid, sizeof(pid), "%d", cases[_i].pid == 1 ? getpid() : 1);
	if (cases[_i].pid)
		setenv("WATCHDOG_PID", pid, 1);
	notify_init();
	ck_assert_uint_eq(notify_watchdog_ms(), cases[_i].want);
	ck_assert_ptr_null(getenv("WATCHDOG_USEC"));
	ck_assert_ptr_null(getenv("WATCHDOG_PID"));
}
END_TEST

START_TEST(without_manager)
{
	static const char *const names[] = { NULL, "", "@", "relative/path", "vsock:2:5" };

	unsetenv("NOTIFY_SOCKET");
	if (names[_i])
		setenv("NOTIFY_SOCKET", names[_i], 1);
	setenv("WATCHDOG_USEC", "1000000", 1);
	notify_init();
	ck_assert_uint_eq(notify_watchdog_ms(), 0);
	errno = 77;
	notify_ready("x");
	notify_status(NULL);
	ck_assert_int_eq(errno, 77);
	ck_assert_ptr_null(getenv("NOTIFY_SOCKET"));
}
END_TEST

START_TEST(abstract_name)
{
	char name[64];
	int fd;

	snprintf(name, sizeof(name), "@test_notify.%d", getpid());
	fd = open_socket(name);
	setenv("NOTIFY_SOCKET", name, 1);
	notify_init();
	notify_watchdog();
	ck_assert_str_eq(receive(fd), "WATCHDOG=1\n");
	close(fd);
}
END_TEST

START_TEST(too_long_path)
{
	char name[300];

	memset(name, 'x', sizeof(name) - 1);
	name[0] = '/';
	name[sizeof(name) - 1] = '\0';
	setenv("NOTIFY_SOCKET", name, 1);
	notify_init();
	notify_ready("x");
}
END_TEST

/* A manager that does not read holds nobody up, and READY=1 is not lost. */
START_TEST(full_queue)
{
	unsigned taken = 0;
	bool was_ready = false;

	notify_init();
	for (int i = 0; i < 2000; i++)
		notify_status("nobody reads this");
	notify_ready("at last");
	notify_status("lost as well");
	while (*receive(manager)) {
		taken++;
		ck_assert_str_eq(message, "STATUS=nobody reads this\n");
	}
	ck_assert_uint_gt(taken, 0);
	ck_assert_uint_lt(taken, 2000);
	notify_watchdog();
	while (*receive(manager))
		was_ready |= strcmp(message, "READY=1\nSTATUS=at last\n") == 0;
	ck_assert_msg(was_ready, "the kept READY=1 did not come");
	notify_watchdog();
	ck_assert_str_eq(receive(manager), "WATCHDOG=1\n");
	ck_assert_str_eq(receive(manager), "");
	/* gone altogether */
	close(manager);
	unlink(path);
	notify_ready("to nobody");
	manager = -1;
}
END_TEST

static const struct log_about someone = {
	.slot = 2, .pid = 123, .serial = 17, .generation = 1, .event = "exit", .reason = "crash",
};

/* The text of one datagram in the journal's protocol, with "NAME=value\n" for each field. */
static void
decode(const char *data, size_t len, char *dst, size_t size)
{
	size_t n = 0;

	dst[0] = '\0';
	while (len > 0) {
		const char *nl = memchr(data, '\n', len);
		size_t line = nl ? (size_t)(nl - data) : len;

		ck_assert_ptr_nonnull(nl);
		if (memchr(data, '=', line)) {
			n += (size_t)snprintf(dst + n, size - n, "%.*s\n", (int)line, data);
			data += line + 1;
			len -= line + 1;
		} else {
			uint64_t bytes;

			ck_assert_uint_ge(len, line + 1 + 8);
			memcpy(&bytes, nl + 1, 8);
			bytes = le64toh(bytes);
			ck_assert_uint_ge(len, line + 1 + 8 + bytes + 1);
			n += (size_t)snprintf(dst + n, size - n, "%.*s=%.*s\n", (int)line, data,
			    (int)bytes, nl + 9);
			ck_assert_int_eq(nl[9 + bytes], '\n');
			data = nl + 9 + bytes + 1;
			len -= line + 1 + 8 + bytes + 1;
		}
	}
}

START_TEST(journal_fields)
{
	static const struct {
		const struct log_about *about;
		const char *text, *want;
	} cases[] = {
		{ NULL, "hello", "MESSAGE=hello\nPRIORITY=4\nSYSLOG_IDENTIFIER=preforkd\n" },
		{ NULL, "", "MESSAGE=\nPRIORITY=4\nSYSLOG_IDENTIFIER=preforkd\n" },
		{ &someone, "two\nlines\nPRIORITY=0", "MESSAGE=slot 2 pid 123 gen 1: two\nlines\nPRIORITY=0\nPRIORITY=4\n"
		    "SYSLOG_IDENTIFIER=preforkd\nPREFORKD_SLOT=2\nPREFORKD_WORKER_PID=123\n"
		    "PREFORKD_SERIAL=17\nPREFORKD_GENERATION=1\nPREFORKD_EVENT=exit\n"
		    "PREFORKD_REASON=crash\n" },
	};
	char text[1024];
	ssize_t n;

	journal_socket = path;
	journal_sink(NULL, LOG_LEVEL_WARN, cases[_i].about, cases[_i].text);
	n = recv(manager, message, sizeof(message), 0);
	ck_assert_int_gt(n, 0);
	decode(message, (size_t)n, text, sizeof(text));
	ck_assert_str_eq(text, cases[_i].want);
	ck_assert_int_lt(recv(manager, message, sizeof(message), 0), 0);
}
END_TEST

START_TEST(forged_fields)
{
	static const struct log_about about = { .event = "x\nPRIORITY=0", .reason = message };
	char text[1024];
	ssize_t n;

	memset(message, 'r', 500);
	message[500] = '\0';
	journal_socket = path;
	journal_sink(NULL, LOG_LEVEL_INFO, &about, "m");
	n = recv(manager, message, sizeof(message), 0);
	decode(message, (size_t)n, text, sizeof(text));
	ck_assert_msg(strstr(text, "PREFORKD_EVENT=x PRIORITY=0\n") != NULL, "%s", text);
}
END_TEST

/* A journal that is stuck or away: lines go to standard error's stream, nothing waits. */
START_TEST(stuck_journal)
{
	unsigned taken = 0, fell_back = 0;
	int fds[2];
	char text[512];
	FILE *f;

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	log_init(fds[1]);
	journal_socket = path;
	log_set_sink(journal_sink, NULL);
	for (int i = 0; i < 1000; i++)
		log_info("line %d", i);
	while (recv(manager, message, sizeof(message), 0) > 0)
		taken++;
	ck_assert_uint_gt(taken, 0);
	journal_socket = "/nonexistent/journal";
	log_warn("away\nwith two lines");
	log_set_sink(NULL, NULL);
	log_init(-1);
	close(fds[1]);
	f = fdopen(fds[0], "r");
	while (fgets(text, sizeof(text), f)) {
		if (strncmp(text, "<6>line ", 8) == 0)
			fell_back++;
		else
			ck_assert_str_eq(text, "<4>away with two lines\n");
	}
	fclose(f);
	ck_assert_uint_eq(taken + fell_back, 1000);
}
END_TEST

START_TEST(is_stderr)
{
	struct stat st;
	char name[64];

	ck_assert(!journal_is_stderr());
	ck_assert_int_eq(fstat(2, &st), 0);
	snprintf(name, sizeof(name), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	setenv("JOURNAL_STREAM", name, 1);
	ck_assert(journal_is_stderr());
	setenv("JOURNAL_STREAM", "nonsense", 1);
	ck_assert(!journal_is_stderr());
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("all");

	tcase_set_timeout(tc, 30);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, messages);
	tcase_add_test(tc, reloading);
	tcase_add_loop_test(tc, long_status, 0, 2);
	tcase_add_loop_test(tc, watchdog, 0, 9);
	tcase_add_loop_test(tc, without_manager, 0, 5);
	tcase_add_test(tc, abstract_name);
	tcase_add_test(tc, too_long_path);
	tcase_add_test(tc, full_queue);
	tcase_add_loop_test(tc, journal_fields, 0, 3);
	tcase_add_test(tc, forged_fields);
	tcase_add_test(tc, stuck_journal);
	tcase_add_test(tc, is_stderr);
	return run_case("notify", tc);
}
