/*
 * pressure.c - see pressure.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "system/pressure.h"

#include "system/cgroup.h"
#include "system/procmem.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

int
pressure_read(const struct pressure *p, struct proctext_pressure *ret)
{
	char text[512];
	ssize_t n;

	if (p->file_fd < 0)
		return -ENODEV;
	do {
		n = pread(p->file_fd, text, sizeof(text), 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return proctext_pressure(text, (size_t)n, ret);
}

/* Adds the file to the set. */
static int
watch(int set, int fd)
{
	struct epoll_event ev = { .events = EPOLLPRI };

	return epoll_ctl(set, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

/* A file that cannot be waited for is no pressure file, and is not written to. */
static bool
can_wait_for(int set, int fd)
{
	return watch(set, fd) == 0 && epoll_ctl(set, EPOLL_CTL_DEL, fd, NULL) == 0;
}

static int
set_trigger(struct pressure *p)
{
	static const unsigned windows_us[] = { 1000000, 2000000 };
	AUTO_CLOSE int set = epoll_create1(EPOLL_CLOEXEC);

	if (set < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_LEN(windows_us); i++) {
		AUTO_CLOSE int fd = open(p->path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
		char text[64];
		int len;

		if (fd < 0)
			return -errno;
		if (!can_wait_for(set, fd))
			return -EPERM;
		len = snprintf(text, sizeof(text), "some %u %u",
		    windows_us[i] / 100 * PRESSURE_SOME, windows_us[i]);
		/* the kernel puts its NUL over the last byte */
		if (write(fd, text, (size_t)len + 1) < 0) {
			if (errno == EINVAL)
				continue;
			return -errno;
		}
		/* only now there is something to be woken by */
		if (watch(set, fd) < 0)
			return -errno;
		p->trigger_fd = TAKE_FD(fd);
		p->fd = TAKE_FD(set);
		return 0;
	}
	return -EINVAL;
}

static int
open_file(struct pressure *p)
{
	struct proctext_pressure now;
	int r;

	p->file_fd = open(p->path, O_RDONLY | O_CLOEXEC);
	if (p->file_fd < 0)
		return -errno;
	r = pressure_read(p, &now);
	if (r < 0) {
		base_close_p(&p->file_fd);
		return r;
	}
	p->total_us = now.total_us;
	return 0;
}

static int
find_file(struct pressure *p)
{
	struct cgroup_place place;
	int n, r;

	/* kernels count this for every group of v2, with the controller or without */
	for (unsigned i = 0; cgroup_find("memory", i, &place) == 0; i++) {
		n = snprintf(p->path, sizeof(p->path), "%s/memory.pressure", place.dir);
		if (place.is_v2 && n > 0 && (size_t)n < sizeof(p->path) && open_file(p) == 0)
			return 0;
	}
	n = snprintf(p->path, sizeof(p->path), "%s/pressure/memory", procmem_root);
	if (n < 0 || (size_t)n >= sizeof(p->path))
		return -ENAMETOOLONG;
	r = open_file(p);
	return r == -EOPNOTSUPP || r == -ENOTDIR ? -ENOENT : r;
}

int
pressure_open(struct pressure *p)
{
	int r;

	*p = PRESSURE_NONE;
	r = find_file(p);
	if (r < 0)
		return r;
	(void)set_trigger(p);
	return 0;
}

int
pressure_take(struct pressure *p)
{
	struct proctext_pressure now = {0};
	struct epoll_event ev = {0};
	int n, r;
	bool grew;

	if (p->fd < 0)
		return -ENODEV;
	do {
		n = epoll_wait(p->fd, &ev, 1, 0);
	} while (n < 0 && errno == EINTR);
	if (n > 0 && (ev.events & EPOLLERR))
		return -ENODEV;
	r = pressure_read(p, &now);
	if (r < 0)
		return r == -EBADMSG ? 0 : -ENODEV;
	grew = now.total_us > p->total_us;
	p->total_us = now.total_us;
	return grew || n > 0 ? 1 : 0;
}

void
pressure_close(struct pressure *p)
{
	base_close_p(&p->fd);
	base_close_p(&p->trigger_fd);
	base_close_p(&p->file_fd);
}
