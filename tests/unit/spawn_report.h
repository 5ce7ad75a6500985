/*
 * spawn_report.h - a child says what it finds itself to be; its parent looks that up.
 *
 * Lines KEY=VALUE on standard output, which spawn_run.h collects.
 */
#ifndef PREFORKD_TEST_SPAWN_REPORT_H
#define PREFORKD_TEST_SPAWN_REPORT_H

#include "spawn_run.h"

#include <dirent.h>
#include <sys/prctl.h>
#include <sys/resource.h>

extern char **environ;

static inline void
report_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *de;

	while (dir && (de = readdir(dir)) != NULL) {
		struct stat st;
		int fd = atoi(de->d_name);

		if (de->d_name[0] == '.' || fd == dirfd(dir) || fstat(fd, &st) < 0)
			continue;
		printf("fd%d=%ju\n", fd, (uintmax_t)st.st_ino);
	}
	if (dir)
		closedir(dir);
}

static inline void NO_RETURN
report(void)
{
	struct rlimit rl;
	char text[4096];
	gid_t groups[64];
	int sig = 0, n;
	FILE *f;

	report_descriptors();
	printf("pid=%d\nppid=%d\npgrp=%d\n", getpid(), getppid(), getpgrp());
	printf("uid=%d\ngid=%d\n", (int)getuid(), (int)getgid());
	n = getgroups(64, groups);
	printf("groups=");
	for (int i = 0; i < n; i++)
		printf("%d,", (int)groups[i]);
	printf("\numask=%03o\n", (unsigned)umask(0));
	printf("cwd=%s\n", getcwd(text, sizeof(text)) ? text : "?");
	getrlimit(RLIMIT_NOFILE, &rl);
	printf("nofile=%ju,%ju\n", (uintmax_t)rl.rlim_cur, (uintmax_t)rl.rlim_max);
	getrlimit(RLIMIT_AS, &rl);
	printf("as=%ju\n", (uintmax_t)rl.rlim_cur);
	prctl(PR_GET_PDEATHSIG, &sig);
	printf("deathsig=%d\n", sig);
	for (char **e = environ; *e; e++)
		printf("env:%s\n", *e);
	f = fopen("/proc/self/status", "re");
	while (f && fgets(text, sizeof(text), f))
		if (strncmp(text, "Sig", 3) == 0 || strncmp(text, "Cap", 3) == 0)
			printf("%.6s=%s", text, text + strspn(text + 7, "\t ") + 7);
	if (f)
		fclose(f);
	f = fopen("/proc/self/oom_score_adj", "re");
	if (f && fgets(text, sizeof(text), f))
		printf("oom=%s", text);
	if (f)
		fclose(f);
	fflush(stdout);
	_exit(0);
}

/* The value of a reported key; "" when there is none. */
static inline const char *
reported(const char *key)
{
	static char value[4096];
	size_t len = strlen(key);

	for (const char *p = output; *p; p += strcspn(p, "\n"), p += *p == '\n') {
		if (strncmp(p, key, len) == 0 && p[len] == '=') {
			snprintf(value, sizeof(value), "%.*s", (int)strcspn(p + len + 1, "\n"),
			    p + len + 1);
			return value;
		}
	}
	return "";
}

static inline unsigned
count_reported_fds(void)
{
	unsigned n = 0;

	for (const char *p = output; (p = strstr(p, "fd")) != NULL; p++)
		n += (p == output || p[-1] == '\n') && p[2] >= '0' && p[2] <= '9';
	return n;
}

#endif
