/*
 * cgroup.c - our control group: kills for memory, CPU quota.
 *
 * Machines differ: v2 alone, v1 alone, or both with the controllers spread over
 * them. Every place where a controller may be is asked in turn, and the first
 * one that has the file in question counts. A group without limits, or none at
 * all, is no error.
 */
#include "system/cgroup.h"
#include "system/procmem.h"
#include "system/proctext.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MEMBERSHIP_MAX 16384
#define CPUS_MAX       65536

const char *cgroup_root = "/sys/fs/cgroup";

static int oom_fd = -1;		/* the file with the count, once found */

static ssize_t
read_text(const char *path, char *dst, size_t len)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t have = 0;

	if (fd < 0)
		return -errno;
	while (have < len - 1) {
		ssize_t n = read(fd, dst + have, len - 1 - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	dst[have] = '\0';
	return (ssize_t)have;
}

/* A path above the root of our namespace ("/../x") names nothing that we can see. */
static bool
leads_out(const char *path, size_t len)
{
	return memmem(path, len, "/..", 3) != NULL;
}

static bool
is_folder(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Fills the place with mount + path, or with the mount alone. */
static int
place_below(const char *mount, const char *path, size_t path_len, struct cgroup_place *ret)
{
	size_t mount_len = strlen(mount);

	if (mount_len >= sizeof(ret->dir))
		return -ENAMETOOLONG;
	memcpy(ret->dir, mount, mount_len + 1);
	ret->mount_len = mount_len;
	if (path_len > 1 && path_len < sizeof(ret->dir) - mount_len &&
	    !leads_out(path, path_len)) {
		memcpy(ret->dir + mount_len, path, path_len);
		ret->dir[mount_len + path_len] = '\0';
		if (!is_folder(ret->dir))
			ret->dir[mount_len] = '\0';
	}
	return is_folder(ret->dir) ? 0 : -ENOENT;
}

int
cgroup_find(const char *controller, unsigned n, struct cgroup_place *ret)
{
	const struct {
		const char *below;
		const char *name;	/* in /proc/self/cgroup */
		bool is_v2;
	} places[] = {
		{ "", "", true },
		{ "/unified", "", true },
		{ NULL, controller, false },
	};
	static char text[MEMBERSHIP_MAX];
	char path[PATH_MAX];
	ssize_t len;

	snprintf(path, sizeof(path), "%s/self/cgroup", procmem_root);
	len = read_text(path, text, sizeof(text));
	if (len < 0)
		return -ENOENT;
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		struct cgroup_place place = { .is_v2 = places[i].is_v2 };
		const char *own = "";
		size_t own_len = 0;

		if (places[i].below)
			snprintf(path, sizeof(path), "%s%s", cgroup_root, places[i].below);
		else
			snprintf(path, sizeof(path), "%s/%s", cgroup_root, controller);
		if (proctext_cgroup_path(text, (size_t)len, places[i].name, &own, &own_len) < 0 ||
		    place_below(path, own, own_len, &place) < 0)
			continue;
		if (n-- > 0)
			continue;
		*ret = place;
		return 0;
	}
	return -ENOENT;
}

bool
cgroup_ascend(struct cgroup_place *place)
{
	char *slash = strrchr(place->dir, '/');

	if (!slash || (size_t)(slash - place->dir) < place->mount_len)
		return false;
	*slash = '\0';
	return true;
}

ssize_t
cgroup_read(const struct cgroup_place *place, const char *file, char *dst, size_t len)
{
	char path[PATH_MAX + 64];
	int n = snprintf(path, sizeof(path), "%s/%s", place->dir, file);

	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	return read_text(path, dst, len);
}

void
cgroup_forget(void)
{
	base_close_p(&oom_fd);
}

/* Both files of v1 and v2 have a line "oom_kill N". */
static int
read_oom_kills(int fd, uint64_t *ret)
{
	char text[1024];
	ssize_t n = pread(fd, text, sizeof(text), 0);

	if (n < 0)
		return -errno;
	return proctext_keyed(text, (size_t)n, "oom_kill", ret) < 0 ? -ENOENT : 0;
}

int
cgroup_oom_kills(uint64_t *ret)
{
	struct cgroup_place place;

	if (oom_fd >= 0 && read_oom_kills(oom_fd, ret) == 0)
		return 0;
	cgroup_forget();
	for (unsigned i = 0; cgroup_find("memory", i, &place) == 0; i++) {
		char path[PATH_MAX + 64];
		AUTO_CLOSE int fd = -1;

		snprintf(path, sizeof(path), "%s/%s", place.dir,
		    place.is_v2 ? "memory.events" : "memory.oom_control");
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || read_oom_kills(fd, ret) < 0)
			continue;
		oom_fd = TAKE_FD(fd);
		return 0;
	}
	return -ENOENT;
}

static int
read_quota(const struct cgroup_place *place, uint64_t *ret_quota, uint64_t *ret_period)
{
	char text[128];
	ssize_t n;

	if (place->is_v2) {
		n = cgroup_read(place, "cpu.max", text, sizeof(text));
		return n < 0 ? (int)n : proctext_cpu_max(text, (size_t)n, ret_quota, ret_period);
	}
	n = cgroup_read(place, "cpu.cfs_quota_us", text, sizeof(text));
	if (n < 0 || proctext_number(text, (size_t)n, ret_quota) < 0)
		return -ENOENT;
	n = cgroup_read(place, "cpu.cfs_period_us", text, sizeof(text));
	if (n < 0 || proctext_number(text, (size_t)n, ret_period) < 0 || *ret_period == 0)
		return -ENOENT;
	return 0;
}

/* The tightest quota of our group and its ancestors in whole CPUs, or UINT_MAX. */
static unsigned
quota_cpus(void)
{
	struct cgroup_place place;
	unsigned cpus = UINT_MAX;

	for (unsigned i = 0; cgroup_find("cpu", i, &place) == 0; i++) {
		do {
			uint64_t quota, period, n;

			if (read_quota(&place, &quota, &period) < 0 ||
			    quota == PROCTEXT_UNLIMITED)
				continue;
			n = quota / period + (quota % period != 0);
			if (n < cpus)
				cpus = (unsigned)n;
		} while (cgroup_ascend(&place));
	}
	return cpus;
}

/* The set must be as large as the kernel's, which is only told by trying. */
static unsigned
affinity_cpus(void)
{
	for (size_t cpus = 1024; cpus <= CPUS_MAX; cpus *= 2) {
		size_t bytes = CPU_ALLOC_SIZE(cpus);
		AUTO_FREE cpu_set_t *set = malloc(bytes);

		if (!set)
			break;
		if (sched_getaffinity(0, bytes, set) == 0)
			return (unsigned)CPU_COUNT_S(bytes, set);
		if (errno != EINVAL)
			break;
	}
	return 1;
}

unsigned
cgroup_cpus(void)
{
	unsigned cpus = MIN_OF(affinity_cpus(), quota_cpus());

	return MAX_OF(cpus, 1U);
}
