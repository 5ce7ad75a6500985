/*
 * bench_procmem.c - what reading the memory of 1000 workers costs.
 *
 * Forks that many small children, reads each one's statm through its open
 * descriptor, and prints the best and the median of some rounds. The children
 * wait on a pipe and end with it, also when this program is killed.
 */
#include "system/procmem.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#define WORKERS 1000
#define ROUNDS  21

static pid_t pids[WORKERS];
static struct procmem mems[WORKERS];

static double
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static int
compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static int
start_workers(const int hold[2])
{
	pid_t parent = getpid();

	for (int i = 0; i < WORKERS; i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			return i;
		if (pids[i] == 0) {
			char c;

			prctl(PR_SET_PDEATHSIG, SIGKILL);
			close(hold[1]);
			_exit(getppid() != parent || read(hold[0], &c, 1) < 0);
		}
	}
	return WORKERS;
}

static int
measure(int n)
{
	double rounds[ROUNDS], walk;
	struct procmem_sample s, *sums = NULL;
	unsigned *members = NULL;
	uint64_t total = 0;

	for (int r = 0; r < ROUNDS; r++) {
		double start = now_ms();

		total = 0;
		for (int i = 0; i < n; i++) {
			if (procmem_read(&mems[i], &s) < 0)
				return 1;
			total += s.rss_bytes;
		}
		rounds[r] = now_ms() - start;
	}
	qsort(rounds, ROUNDS, sizeof(rounds[0]), compare);
	printf("%d workers: %.2f ms (best %.2f ms, %ju MiB in all)\n", n, rounds[ROUNDS / 2],
	    rounds[0], (uintmax_t)(total >> 20));
	sums = calloc((size_t)n, sizeof(*sums));
	members = calloc((size_t)n, sizeof(*members));
	walk = now_ms();
	if (sums && members && procmem_groups(pids, (size_t)n, sums, members) == 0)
		printf("their process groups: %.2f ms\n", now_ms() - walk);
	free(sums);
	free(members);
	return 0;
}

int
main(void)
{
	struct rlimit rl;
	int hold[2], n, failed = 1;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < WORKERS + 100) {
		rl.rlim_cur = MIN_OF((rlim_t)WORKERS + 100, rl.rlim_max);
		setrlimit(RLIMIT_NOFILE, &rl);
	}
	if (pipe2(hold, O_CLOEXEC) < 0) {
		perror("bench_procmem: pipe");
		return 1;
	}
	for (int i = 0; i < WORKERS; i++)
		mems[i] = PROCMEM_NONE;
	n = start_workers(hold);
	for (int i = 0; i < n; i++) {
		if (procmem_open(&mems[i], pids[i]) < 0) {
			fprintf(stderr, "bench_procmem: cannot read process %d\n", (int)pids[i]);
			goto out;
		}
	}
	failed = n == 0 ? 1 : measure(n);
out:
	close(hold[1]);
	for (int i = 0; i < n; i++) {
		procmem_close(&mems[i]);
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	return failed;
}
