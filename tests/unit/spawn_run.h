/*
 * spawn_run.h - runs one child by a plan and collects what it says.
 *
 * The child is the test program again, called with --report, unless a test puts
 * another program into the plan.
 */
#ifndef PREFORKD_TEST_SPAWN_RUN_H
#define PREFORKD_TEST_SPAWN_RUN_H

#include "system/spawn.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define SELF "/proc/self/exe"

static char output[65536];	/* of the last child */
static char failure[4096];	/* its ERROR= datagram, or "" */
static int out[2], channel[2];

static char *const self_argv[] = { (char[]){ "self" }, (char[]){ "--report" }, NULL };
static char *const no_env[] = { NULL };

static struct spawn_fd only_stdout[1];

static inline struct spawn_plan
make_plan(void)
{
	ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel), 0);
	only_stdout[0] = (struct spawn_fd){ out[1], 1 };
	return (struct spawn_plan){
		.program = SELF, .argv = self_argv, .envp = no_env,
		.fds = only_stdout, .n_fds = 1, .error_fd = channel[1],
	};
}

static inline ssize_t
read_all(int fd, char *dst, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, dst + len, size - 1 - len)) > 0)
		len += (size_t)n;
	dst[len] = '\0';
	return (ssize_t)len;
}

/* Spawns, reads everything, reaps; returns the exit status (waitpid's). */
static inline int
run(const struct spawn_plan *plan)
{
	struct err e = {0};
	int status = -1;
	ssize_t n;
	pid_t pid = spawn(plan, &e);

	ck_assert_msg(pid > 0, "%s", e.text);
	close(out[1]);
	close(channel[1]);
	read_all(out[0], output, sizeof(output));
	n = recv(channel[0], failure, sizeof(failure) - 1, 0);
	failure[MAX_OF(n, 0)] = '\0';
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	close(out[0]);
	close(channel[0]);
	return status;
}

static inline void
run_well(const struct spawn_plan *plan)
{
	int status = run(plan);

	ck_assert_msg(status == 0, "status %x: %s", (unsigned)status, failure);
	ck_assert_str_eq(failure, "");
}

#endif
