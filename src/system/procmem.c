/*
 * procmem.c - one worker's memory and descriptors.
 *
 * A sample is one pread on a descriptor that stays open: no path is resolved, no
 * memory taken, and the number cannot be another process's, since the
 * descriptor belongs to the one it was opened for. A process without an address
 * space (a zombie) counts as gone.
 *
 * A descriptor of smaps_rollup belongs to the address space that the process had when it was
 * opened: after an exec it finds nobody there any more, and another one has to be opened.
 */
#include "system/procmem.h"
#include "system/proctext.h"

#include "model/footprint.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>

#define KB_MAX (UINT64_MAX / 1024)

const char *procmem_root = "/proc";

static int
open_of_pid(pid_t pid, const char *name, int flags)
{
	char path[PATH_MAX];
	int n, fd;

	if (pid <= 0)
		return -EINVAL;
	n = snprintf(path, sizeof(path), "%s/%d/%s", procmem_root, (int)pid, name);
	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, flags | O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	return errno == ENOENT ? -ESRCH : -errno;
}

int
procmem_open(struct procmem *m, pid_t pid)
{
	struct procmem opened = { .rollup_fd = -1, .pid = pid };
	struct procmem_sample sample;
	int r;

	opened.statm_fd = open_of_pid(pid, "statm", 0);
	if (opened.statm_fd < 0)
		return opened.statm_fd;
	r = procmem_read(&opened, &sample);
	if (r < 0) {
		procmem_close(&opened);
		return r;
	}
	*m = opened;
	return 0;
}

int
procmem_read(struct procmem *m, struct procmem_sample *ret)
{
	static uint64_t page_bytes;
	char text[256];
	uint64_t size, resident;
	ssize_t n;

	if (m->statm_fd < 0)
		return -EBADF;
	if (page_bytes == 0)
		page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
	do {
		n = pread(m->statm_fd, text, sizeof(text), 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0)
		return -ESRCH;
	if (proctext_statm(text, (size_t)n, &size, &resident) < 0)
		return -EBADMSG;
	if (size == 0)
		return -ESRCH;
	if (size > UINT64_MAX / page_bytes || resident > UINT64_MAX / page_bytes)
		return -EBADMSG;
	*ret = (struct procmem_sample){
		.rss_bytes = resident * page_bytes,
		.as_bytes = size * page_bytes,
	};
	return 0;
}

static int
rollup_from_fd(int fd, struct procmem_rollup *ret)
{
	struct proctext_rollup t;
	char text[4096];
	uint64_t sum;
	ssize_t n;

	do {
		n = pread(fd, text, sizeof(text), 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0)
		return -ESRCH;
	if (proctext_rollup(text, (size_t)n, &t) < 0)
		return -EBADMSG;
	if (t.rss_kb > KB_MAX || t.pss_kb > KB_MAX || t.swap_kb > KB_MAX ||
	    __builtin_add_overflow(t.private_clean_kb, t.private_dirty_kb, &sum) ||
	    __builtin_add_overflow(sum, t.private_hugetlb_kb, &sum) || sum > KB_MAX)
		return -EBADMSG;
	*ret = (struct procmem_rollup){
		.rss_bytes = t.rss_kb * 1024,
		.pss_bytes = t.pss_kb * 1024,
		.uss_bytes = sum * 1024,
		.swap_bytes = t.swap_kb * 1024,
	};
	return 0;
}

int
procmem_read_rollup(struct procmem *m, struct procmem_rollup *ret)
{
	struct procmem_sample sample;
	int r;

	if (m->rollup_fd >= 0) {
		r = rollup_from_fd(m->rollup_fd, ret);
		if (r != -ESRCH)
			return r;
		base_close_p(&m->rollup_fd);
	}
	/* statm sees to it that the pid is still this process */
	r = procmem_read(m, &sample);
	if (r < 0)
		return r;
	m->rollup_fd = open_of_pid(m->pid, "smaps_rollup", 0);
	if (m->rollup_fd >= 0)
		return rollup_from_fd(m->rollup_fd, ret);
	r = m->rollup_fd;
	m->rollup_fd = -1;
	if (r == -EPERM)
		return -EACCES;
	return r == -ESRCH && procmem_read(m, &sample) == 0 ? -ENOTSUP : r;
}

int
procmem_read_peak(struct procmem *m, uint64_t *ret)
{
	struct procmem_sample sample;
	char text[4096];
	AUTO_CLOSE int fd = -1;
	uint64_t kb;
	ssize_t n;
	int r;

	fd = open_of_pid(m->pid, "status", 0);
	/* statm sees to it that the pid was still this process when the other one was opened */
	r = procmem_read(m, &sample);
	if (r < 0)
		return r;
	if (fd < 0)
		return fd;
	do {
		n = read(fd, text, sizeof(text));
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (proctext_kb(text, (size_t)n, "VmHWM:", &kb) < 0)
		return procmem_read(m, &sample) == 0 ? -ENOTSUP : -ESRCH;
	if (kb > KB_MAX)
		return -EBADMSG;
	*ret = kb * 1024;
	return 0;
}

uint64_t
procmem_statm_error(void)
{
	static uint64_t error = UINT64_MAX;
	unsigned major = 0, minor = 0;
	struct utsname u;
	long cpus;

	if (error != UINT64_MAX)
		return error;
	cpus = sysconf(_SC_NPROCESSORS_ONLN);
	/* one that says nothing is taken for one that is inexact */
	if (uname(&u) < 0 || sscanf(u.release, "%3u.%5u", &major, &minor) != 2)
		major = 6, minor = 2;
	error = footprint_statm_error(major, minor, cpus > 0 ? (unsigned)cpus : 1,
	    (uint64_t)sysconf(_SC_PAGESIZE));
	return error;
}

/* By its path in our /proc: mount namespaces of others have other devices below the same names. */
static int
check_rollup(int fd, pid_t pid)
{
	char link[PATH_MAX], want[PATH_MAX], is[PATH_MAX];
	struct stat proc, st;
	struct statfs fs;
	ssize_t len;
	int n;

	if (fd < 0)
		return -EBADF;
	if (fstatfs(fd, &fs) < 0 || fstat(fd, &st) < 0 || stat(procmem_root, &proc) < 0)
		return -errno;
	if (fs.f_type != PROC_SUPER_MAGIC || st.st_dev != proc.st_dev || !S_ISREG(st.st_mode))
		return -EINVAL;
	n = snprintf(want, sizeof(want), "%s/%d/smaps_rollup", procmem_root, (int)pid);
	if (n < 0 || (size_t)n >= sizeof(want))
		return -ENAMETOOLONG;
	n = snprintf(link, sizeof(link), "%s/self/fd/%d", procmem_root, fd);
	if (n < 0 || (size_t)n >= sizeof(link))
		return -ENAMETOOLONG;
	len = readlink(link, is, sizeof(is));
	if (len < 0)
		return -errno;
	return (size_t)len == strlen(want) && memcmp(is, want, (size_t)len) == 0 ? 0 : -EINVAL;
}

int
procmem_adopt_rollup(struct procmem *m, pid_t pid, int fd)
{
	AUTO_CLOSE int passed = fd;
	int own, r = check_rollup(passed, pid);

	if (r >= 0 && m->statm_fd < 0)
		r = procmem_open(m, pid);
	if (r < 0)
		return r;
	base_close_p(&m->rollup_fd);
	/* One of our own is better where we may: who shares a descriptor can make readers wait, by
	 * a read of his own that does not end (the kernel lets one in at a time). */
	own = open_of_pid(pid, "smaps_rollup", 0);
	m->rollup_fd = own >= 0 ? own : TAKE_FD(passed);
	return 0;
}

void
procmem_close(struct procmem *m)
{
	base_close_p(&m->rollup_fd);
	base_close_p(&m->statm_fd);
	m->pid = 0;
}

static int
count_entries(int fd, uint64_t *ret)
{
	DIR *dir = fdopendir(fd);
	uint64_t n = 0;
	int r;

	if (!dir) {
		r = -errno;
		close(fd);
		return r;
	}
	for (;;) {
		struct dirent *de;

		errno = 0;
		de = readdir(dir);
		if (!de)
			break;
		n += de->d_name[0] != '.';
	}
	r = -errno;
	closedir(dir);
	if (r < 0)
		return r;
	*ret = n;
	return 0;
}

int
procmem_count_fds(pid_t pid, uint64_t *ret)
{
	AUTO_CLOSE int fd = open_of_pid(pid, "fd", O_DIRECTORY);
	struct statfs fs;
	struct stat st;

	if (fd < 0)
		return fd;
	/* since Linux 6.2 the size of the folder is the number, and a process with very many
	 * descriptors costs no more than one with few */
	if (fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC &&
	    fstat(fd, &st) == 0 && st.st_size > 0) {
		*ret = (uint64_t)st.st_size;
		return 0;
	}
	return count_entries(TAKE_FD(fd), ret);
}
