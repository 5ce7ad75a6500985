/*
 * proctext.h - the kernel's texts below /proc and /sys/fs/cgroup, parsed.
 *
 * Pure: they take a text that need not be NUL-terminated and may be cut anywhere.
 * Each returns 0, or -EBADMSG for a text that is none of its kind, and writes its
 * results only on success.
 */
#ifndef PREFORKD_PROCTEXT_H
#define PREFORKD_PROCTEXT_H

#include "base/base.h"

#define PROCTEXT_UNLIMITED UINT64_MAX

struct proctext_stat {
	pid_t pid;
	char state;
	pid_t ppid;
	pid_t pgrp;
	uint64_t vsize_bytes;
	uint64_t rss_pages;
};

/* The line "some" of a pressure file: part of the time that anybody waited, in hundredths of a
 * percent, and the sum of that time. */
struct proctext_pressure {
	uint64_t avg10;
	uint64_t avg60;
	uint64_t total_us;
};

/* Sizes of /proc/PID/smaps_rollup in kB, as the kernel writes them. */
struct proctext_rollup {
	uint64_t rss_kb;
	uint64_t pss_kb;
	uint64_t private_clean_kb;
	uint64_t private_dirty_kb;
	uint64_t private_hugetlb_kb;	/* not in rss_kb */
	uint64_t swap_kb;
};

/* /proc/PID/statm: size and resident size in pages. */
int proctext_statm(const char *text, size_t len, uint64_t *ret_size, uint64_t *ret_resident);

/* /proc/PID/stat. The command may hold blanks, parentheses and newlines. */
int proctext_stat(const char *text, size_t len, struct proctext_stat *ret);

/* /proc/PID/smaps_rollup: lines "Pss:  228 kB" behind one with the range of addresses. All
 * fields have to be there, Private_Hugetlb excepted. */
int proctext_rollup(const char *text, size_t len, struct proctext_rollup *ret);

/* The number of a line "VmHWM:  228 kB", as in /proc/PID/status and /proc/meminfo; key with its
 * colon. A line that is cut is bad. */
int proctext_kb(const char *text, size_t len, const char *key, uint64_t *ret);

/* /proc/pressure/memory, or a cgroup's memory.pressure. */
int proctext_pressure(const char *text, size_t len, struct proctext_pressure *ret);

/* One line of an epoll descriptor's fdinfo: "tfd: 5 events: 19 data: 5 pos:0 ino:1f2a
 * sdev:8". Other lines are -EBADMSG. */
int proctext_epoll_line(const char *line, size_t len, uint64_t *ret_ino);

/* The number after `key` in lines "key number". */
int proctext_keyed(const char *text, size_t len, const char *key, uint64_t *ret);

/* A number alone on its line; -1 (v1: no limit) and "max" are PROCTEXT_UNLIMITED. */
int proctext_number(const char *text, size_t len, uint64_t *ret);

/* v2 cpu.max, "200000 100000" or "max 100000". */
int proctext_cpu_max(const char *text, size_t len, uint64_t *ret_quota, uint64_t *ret_period);

/* The path of a controller in /proc/PID/cgroup; controller "" is the v2 hierarchy. The result
 * points into text. */
int proctext_cgroup_path(const char *text, size_t len, const char *controller,
    const char **ret_path, size_t *ret_len);

#endif
