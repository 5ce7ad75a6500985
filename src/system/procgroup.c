/*
 * procgroup.c - what a worker's descendants use, and what they wait for.
 *
 * Descendants are found by process group, which survives re-parenting. One walk
 * over /proc serves all workers, with one buffer; a process that vanishes
 * meanwhile, or that may not be read, is left out.
 */
#include "system/procmem.h"
#include "system/proctext.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define FDS_LOOKED_AT 4096		/* descriptors of one process, at most */
#define FDINFO_BYTES  ((size_t)1024 * 1024)	/* of one epoll descriptor, at most */

struct leader {
	pid_t pgrp;
	size_t index;
};

static void
close_dir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/* The number a folder of /proc is named with, or 0. */
static pid_t
name_to_pid(const char *name)
{
	int v = 0;

	for (; *name; name++) {
		if (*name < '0' || *name > '9' || v > (INT_MAX - 9) / 10)
			return 0;
		v = v * 10 + (*name - '0');
	}
	return v;
}

static int
read_stat(int proc_fd, pid_t pid, struct proctext_stat *ret)
{
	char path[32], text[1024];
	AUTO_CLOSE int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "%d/stat", (int)pid);
	fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text));
	if (n < 0)
		return -errno;
	return proctext_stat(text, (size_t)n, ret);
}

/* The next process that can be read and is not dead yet; 1, or 0 at the end, or negative
 * errno. */
static int
next_process(DIR *dir, struct proctext_stat *ret)
{
	for (;;) {
		struct dirent *de;
		pid_t pid;

		errno = 0;
		de = readdir(dir);
		if (!de)
			return -errno;
		pid = name_to_pid(de->d_name);
		if (pid > 0 && read_stat(dirfd(dir), pid, ret) == 0 &&
		    ret->pid == pid && ret->state != 'Z' && ret->state != 'X')
			return 1;
	}
}

static int
compare_leaders(const void *a, const void *b)
{
	const struct leader *x = a, *y = b;

	return (x->pgrp > y->pgrp) - (x->pgrp < y->pgrp);
}

int
procmem_groups(const pid_t *leaders, size_t n, struct procmem_sample *sum,
    unsigned *n_members)
{
	uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
	AUTO_FREE struct leader *sorted = calloc(n ? n : 1, sizeof(*sorted));
	CLEANUP(close_dir) DIR *dir = opendir(procmem_root);
	struct proctext_stat s = {0};
	int r;

	if (!sorted)
		return -ENOMEM;
	if (!dir)
		return -errno;
	for (size_t i = 0; i < n; i++) {
		sorted[i] = (struct leader){ .pgrp = leaders[i], .index = i };
		sum[i] = (struct procmem_sample){0};
		n_members[i] = 0;
	}
	qsort(sorted, n, sizeof(*sorted), compare_leaders);
	while ((r = next_process(dir, &s)) > 0) {
		struct leader key = { .pgrp = s.pgrp };
		const struct leader *found;

		if (s.pid == s.pgrp)
			continue;
		found = bsearch(&key, sorted, n, sizeof(*sorted), compare_leaders);
		if (!found)
			continue;
		sum[found->index].rss_bytes += s.rss_pages * page_bytes;
		sum[found->index].as_bytes += s.vsize_bytes;
		n_members[found->index]++;
	}
	return r;
}

int
procmem_group_rollup(pid_t leader, struct procmem_rollup *sum)
{
	CLEANUP(close_dir) DIR *dir = opendir(procmem_root);
	struct proctext_stat s = {0};
	int r;

	if (!dir)
		return -errno;
	while ((r = next_process(dir, &s)) > 0) {
		struct procmem m = PROCMEM_NONE;
		struct procmem_rollup one;

		if (s.pgrp != leader || s.pid == leader || procmem_open(&m, s.pid) < 0)
			continue;
		if (procmem_read_rollup(&m, &one) == 0) {
			sum->rss_bytes += one.rss_bytes;
			sum->pss_bytes += one.pss_bytes;
			sum->uss_bytes += one.uss_bytes;
			sum->swap_bytes += one.swap_bytes;
		}
		procmem_close(&m);
	}
	return r;
}

/* Whether one epoll descriptor watches the inode. */
static int
fdinfo_has_inode(int fd, ino_t inode)
{
	char text[4096];
	size_t have = 0, total = 0;

	while (total < FDINFO_BYTES) {
		ssize_t n = read(fd, text + have, sizeof(text) - have);
		size_t start = 0;
		const char *nl;
		uint64_t ino;

		if (n < 0)
			return -errno;
		if (n == 0)
			return proctext_epoll_line(text, have, &ino) == 0 && ino == inode;
		have += (size_t)n;
		total += (size_t)n;
		while ((nl = memchr(text + start, '\n', have - start)) != NULL) {
			size_t len = (size_t)(nl - (text + start));

			if (proctext_epoll_line(text + start, len, &ino) == 0 && ino == inode)
				return 1;
			start += len + 1;
		}
		if (start == 0 && have == sizeof(text))
			start = have;	/* no line of fdinfo is that long */
		have -= start;
		memmove(text, text + start, have);
	}
	return 0;
}

static bool
is_epoll(int fds_fd, const char *name)
{
	static const char target[] = "anon_inode:[eventpoll]";
	char text[64];
	ssize_t n = readlinkat(fds_fd, name, text, sizeof(text));

	return n == (ssize_t)sizeof(target) - 1 && memcmp(text, target, (size_t)n) == 0;
}

static int
process_polls_inode(int proc_fd, pid_t pid, ino_t inode)
{
	char path[64];
	CLEANUP(close_dir) DIR *dir = NULL;
	AUTO_CLOSE int fd = -1;

	snprintf(path, sizeof(path), "%d/fd", (int)pid);
	fd = openat(proc_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	dir = fdopendir(fd);
	if (!dir)
		return -errno;
	TAKE_FD(fd);		/* dir owns it now */
	for (unsigned i = 0; i < FDS_LOOKED_AT; i++) {
		AUTO_CLOSE int info = -1;
		struct dirent *de;

		errno = 0;
		de = readdir(dir);
		if (!de)
			return errno == ENOENT ? -ESRCH : -errno;
		if (name_to_pid(de->d_name) == 0 || !is_epoll(dirfd(dir), de->d_name))
			continue;
		snprintf(path, sizeof(path), "%d/fdinfo/%d", (int)pid,
		    (int)name_to_pid(de->d_name));
		info = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
		if (info >= 0 && fdinfo_has_inode(info, inode) == 1)
			return 1;
		if (info < 0 && (errno == EACCES || errno == EPERM))
			return -EACCES;
	}
	return 0;
}

int
procmem_polls_inode(pid_t leader, ino_t inode)
{
	CLEANUP(close_dir) DIR *dir = opendir(procmem_root);
	struct proctext_stat s = {0};
	int r, first;

	if (!dir)
		return -errno;
	if (leader <= 0)
		return -EINVAL;
	first = process_polls_inode(dirfd(dir), leader, inode);
	if (first > 0)
		return 1;
	while ((r = next_process(dir, &s)) > 0) {
		if (s.pgrp == leader && s.pid != leader &&
		    process_polls_inode(dirfd(dir), s.pid, inode) == 1)
			return 1;
	}
	return r < 0 ? r : first;
}
