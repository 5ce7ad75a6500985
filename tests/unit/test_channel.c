/*
 * test_channel.c - datagrams with descriptors, and who sent them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/channel.h"

#include "run_case.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

static int ours, theirs;

static void
setup(void)
{
	ck_assert_int_eq(channel_pair(&ours, &theirs), 0);
}

static void
teardown(void)
{
	close(ours);
	if (theirs >= 0)
		close(theirs);
}

static unsigned
count_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

START_TEST(plain)
{
	char data[16];

	ck_assert_int_eq(channel_recv(ours, data, sizeof data, NULL), -EAGAIN);
	ck_assert_int_eq(channel_send(theirs, "READY=1", 7, -1), 0);
	ck_assert_int_eq(channel_recv(ours, data, sizeof data, NULL), 7);
	ck_assert_int_eq(memcmp(data, "READY=1", 7), 0);
	ck_assert_int_eq(channel_send(theirs, "", 0, -1), 0);
	ck_assert_int_eq(channel_recv(ours, data, sizeof data, NULL), 0);
	ck_assert_int_eq(channel_send(theirs, "a line of many letters", 22, -1), 0);
	ck_assert_int_eq(channel_recv(ours, data, sizeof data, NULL), -EMSGSIZE);
	close(theirs);
	theirs = -1;
	ck_assert_int_eq(channel_recv(ours, data, sizeof data, NULL), -EPIPE);
	ck_assert_int_eq(channel_send(ours, "x", 1, -1), -EPIPE);
}
END_TEST

/* The peer gets copies in the same order, and we keep ours. */
START_TEST(descriptors_go_along)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * CHANNEL_FDS_MAX)];
	} control;
	char data[16];
	struct iovec iov = { data, sizeof data };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof control,
	};
	int fds[CHANNEL_FDS_MAX], got[CHANNEL_FDS_MAX];
	int pipes[2];
	struct cmsghdr *c;

	ck_assert_int_eq(pipe(pipes), 0);
	for (int i = 0; i < CHANNEL_FDS_MAX; i++)
		fds[i] = pipes[i % 2];
	ck_assert_int_eq(channel_send_fds(ours, "FORK=1,2,3", 10, fds, CHANNEL_FDS_MAX), 0);
	ck_assert_int_eq(channel_send_fds(ours, "", 0, fds, CHANNEL_FDS_MAX + 1), -E2BIG);
	ck_assert_int_eq(recvmsg(theirs, &msg, MSG_CMSG_CLOEXEC), 10);
	ck_assert_int_eq(msg.msg_flags & MSG_CTRUNC, 0);
	c = CMSG_FIRSTHDR(&msg);
	ck_assert_uint_eq(c->cmsg_len, CMSG_LEN(sizeof got));
	memcpy(got, CMSG_DATA(c), sizeof got);
	ck_assert_int_eq(write(got[1], "x", 1), 1);
	ck_assert_int_eq(read(pipes[0], data, 1), 1);
	for (int i = 0; i < CHANNEL_FDS_MAX; i++) {
		ck_assert_int_eq(fcntl(got[i], F_GETFL) & O_ACCMODE, i % 2 ? O_WRONLY : O_RDONLY);
		close(got[i]);
	}
	close(pipes[0]);
	close(pipes[1]);
}
END_TEST

/* What a peer attaches is not kept. */
START_TEST(descriptors_are_closed)
{
	unsigned before = count_open();
	int fds[CHANNEL_FDS_MAX] = {0};
	char data[16];

	ck_assert_int_eq(channel_send_fds(theirs, "x", 1, fds, CHANNEL_FDS_MAX), 0);
	ck_assert_int_eq(channel_recv(ours, data, sizeof data, NULL), 1);
	ck_assert_uint_eq(count_open(), before);
}
END_TEST

/* The first is kept for those who ask for it. */
START_TEST(one_descriptor_is_kept)
{
	unsigned before = count_open();
	int pipes[2], fds[3], fd = 77;
	char data[16];

	ck_assert_int_eq(channel_send(theirs, "x", 1, -1), 0);
	ck_assert_int_eq(channel_recv_fd(ours, data, sizeof data, NULL, &fd), 1);
	ck_assert_int_eq(fd, -1);
	ck_assert_int_eq(channel_recv_fd(ours, data, sizeof data, NULL, &fd), -EAGAIN);
	ck_assert_int_eq(fd, -1);
	ck_assert_int_eq(pipe(pipes), 0);
	fds[0] = pipes[1];
	fds[1] = fds[2] = pipes[0];
	ck_assert_int_eq(channel_send_fds(theirs, "READY=1", 7, fds, 3), 0);
	ck_assert_int_eq(channel_recv_fd(ours, data, sizeof data, NULL, &fd), 7);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_WRONLY);
	close(fd);
	close(pipes[0]);
	close(pipes[1]);
	ck_assert_uint_eq(count_open(), before);
}
END_TEST

/* By the kernel: the sender, not the one who opened the socket; only while asked for. */
START_TEST(senders_are_named)
{
	struct channel_sender sender;
	char data[16];
	int status;
	pid_t pid;

	ck_assert_int_eq(channel_name_senders(ours, true), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		_exit(channel_send(theirs, "BORN=1", 6, -1) < 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(channel_recv(ours, data, sizeof data, &sender), 6);
	ck_assert_int_eq(sender.pid, pid);
	ck_assert_uint_eq(sender.uid, getuid());
	ck_assert_int_eq(channel_name_senders(ours, false), 0);
	ck_assert_int_eq(channel_send(theirs, "x", 1, -1), 0);
	ck_assert_int_eq(channel_recv(ours, data, sizeof data, &sender), 1);
	ck_assert_int_eq(sender.pid, 0);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("channel");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, plain);
	tcase_add_test(tc, descriptors_go_along);
	tcase_add_test(tc, descriptors_are_closed);
	tcase_add_test(tc, one_descriptor_is_kept);
	tcase_add_test(tc, senders_are_named);
	return run_case("channel", tc);
}
