/*
 * test_cgroup.c - control groups of every layout, made up, and the real one.
 */
#include "made_up.h"
#include "run_case.h"

#include <sched.h>

#define V1_PATHS "4:memory:/app\n3:cpuset:/\n2:cpu,cpuacct:/app\n1:name=systemd:/x\n"

START_TEST(oom_kills)
{
	static const struct {
		const char *label, *membership, *file, *text;
		int want;
		uint64_t n;
	} cases[] = {
		{ "v2", "0::/a/b\n", "a/b/memory.events",
		    "low 0\nhigh 0\nmax 9\noom 8\noom_kill 7\noom_group_kill 1\n", 0, 7 },
		{ "v2, own group as root", "0::/\n", "memory.events", "oom_kill 3\n", 0, 3 },
		{ "v2, path of the host", "0::/docker/x\n", "memory.events", "oom_kill 3\n", 0, 3 },
		{ "v2, path leads out", "0::/../../x\n", "memory.events", "oom_kill 3\n", 0, 3 },
		{ "v1", V1_PATHS, "memory/app/memory.oom_control",
		    "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n", 0, 5 },
		{ "v1 below its own root", V1_PATHS, "memory/memory.oom_control",
		    "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n", 0, 5 },
		{ "hybrid, memory in v1", V1_PATHS "0::/\n", "memory/app/memory.oom_control",
		    "oom_kill 6\n", 0, 6 },
		{ "hybrid, memory in v2", "1:name=systemd:/x\n0::/app\n",
		    "unified/app/memory.events", "oom_kill 4\n", 0, 4 },
		{ "old kernel", V1_PATHS, "memory/app/memory.oom_control",
		    "oom_kill_disable 0\nunder_oom 0\n", -ENOENT, 0 },
		{ "empty file", "0::/a\n", "a/memory.events", "", -ENOENT, 0 },
		{ "cut file", "0::/a\n", "a/memory.events", "oom 1\noom_kill", -ENOENT, 0 },
		{ "no number", "0::/a\n", "a/memory.events", "oom_kill x\n", -ENOENT, 0 },
		{ "no controller", "5:cpu:/\n", "memory/memory.oom_control", "oom_kill 1\n",
		    -ENOENT, 0 },
		{ "empty membership", "", "memory.events", "oom_kill 1\n", -ENOENT, 0 },
		{ "garbage", "::::\n0:\n0:x\n\n9:memory\n", "memory.events", "oom_kill 1\n",
		    -ENOENT, 0 },
	};
	uint64_t n = 99;
	int r;

	put("self/cgroup", cases[_i].membership);
	put(cases[_i].file, cases[_i].text);
	r = cgroup_oom_kills(&n);
	ck_assert_msg(r == cases[_i].want, "%s: %d", cases[_i].label, r);
	ck_assert_msg(n == (r == 0 ? cases[_i].n : 99), "%s: %ju", cases[_i].label, (uintmax_t)n);
	if (r == 0) {
		put(cases[_i].file, "oom_kill 12345\n");
		ck_assert_int_eq(cgroup_oom_kills(&n), 0);
		ck_assert_uint_eq(n, 12345);
		/* found once, but not believed for ever */
		put(cases[_i].file, "");
		ck_assert_int_eq(cgroup_oom_kills(&n), -ENOENT);
	}
}
END_TEST

/* A path above our namespace is not followed, even where it leads somewhere. */
START_TEST(path_that_leads_out)
{
	char membership[128];
	uint64_t n = 0;

	snprintf(membership, sizeof(membership), "0::/..%s/a\n", strrchr(root, '/'));
	put("self/cgroup", membership);
	put("memory.events", "oom_kill 3\n");
	put("a/memory.events", "oom_kill 9\n");
	ck_assert_int_eq(cgroup_oom_kills(&n), 0);
	ck_assert_uint_eq(n, 3);
}
END_TEST

START_TEST(oom_kills_here)
{
	uint64_t n;
	int r;

	procmem_root = "/proc";
	cgroup_root = "/sys/fs/cgroup";
	r = cgroup_oom_kills(&n);
	ck_assert(r == 0 || r == -ENOENT);
	ck_assert_uint_ge(cgroup_cpus(), 1);
}
END_TEST

START_TEST(cpus)
{
	static const struct {
		const char *label, *membership;
		const char *files[5][2];
		unsigned want;		/* 0: as many as the affinity allows */
	} cases[] = {
		{ "no files", "", {{0}}, 0 },
		{ "no limit", "0::/a\n", {{ "a/cpu.max", "max 100000\n" }}, 0 },
		{ "whole", "0::/a\n", {{ "a/cpu.max", "100000 100000\n" }}, 1 },
		{ "below one", "0::/a\n", {{ "a/cpu.max", "1000 100000\n" }}, 1 },
		{ "rounded up", "0::/a\n", {{ "a/cpu.max", "110000 100000\n" }}, 2 },
		{ "parent is tighter", "0::/a/b\n",
		    {{ "a/cpu.max", "90000 100000\n" }, { "a/b/cpu.max", "800000 100000\n" }}, 1 },
		{ "grandparent, parent without file", "0::/a/b/c\n",
		    {{ "a/cpu.max", "90000 100000\n" }, { "a/b/c/x", "" }}, 1 },
		{ "mount's root", "0::/docker/x\n", {{ "cpu.max", "90000 100000\n" }}, 1 },
		{ "v1", V1_PATHS, {{ "cpu/app/cpu.cfs_quota_us", "50000\n" },
		    { "cpu/app/cpu.cfs_period_us", "100000\n" }}, 1 },
		{ "v1 without limit", V1_PATHS, {{ "cpu/app/cpu.cfs_quota_us", "-1\n" },
		    { "cpu/app/cpu.cfs_period_us", "100000\n" }}, 0 },
		{ "v1 without period", V1_PATHS, {{ "cpu/app/cpu.cfs_quota_us", "50000\n" }}, 0 },
		{ "v1 ancestor", V1_PATHS, {{ "cpu/app/x", "" },
		    { "cpu/cpu.cfs_quota_us", "50000\n" },
		    { "cpu/cpu.cfs_period_us", "100000\n" }}, 1 },
		{ "hybrid", V1_PATHS "0::/\n", {{ "cpu/app/cpu.cfs_quota_us", "50000\n" },
		    { "cpu/app/cpu.cfs_period_us", "100000\n" }}, 1 },
		{ "empty", "0::/a\n", {{ "a/cpu.max", "" }}, 0 },
		{ "cut", "0::/a\n", {{ "a/cpu.max", "1000" }}, 0 },
		{ "zero period", "0::/a\n", {{ "a/cpu.max", "1000 0\n" }}, 0 },
		{ "zero quota", "0::/a\n", {{ "a/cpu.max", "0 100000\n" }}, 1 },
	};
	unsigned all, want;
	cpu_set_t set;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(set), &set), 0);
	all = (unsigned)CPU_COUNT(&set);
	want = cases[_i].want ? MIN_OF(cases[_i].want, all) : all;
	put("self/cgroup", cases[_i].membership);
	for (size_t i = 0; i < 5 && cases[_i].files[i][0]; i++)
		put(cases[_i].files[i][0], cases[_i].files[i][1]);
	ck_assert_msg(cgroup_cpus() == want, "%s: %u instead of %u", cases[_i].label,
	    cgroup_cpus(), want);
	/* the affinity counts as well */
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &set)) {
			CPU_ZERO(&set);
			CPU_SET(cpu, &set);
			break;
		}
	}
	ck_assert_int_eq(sched_setaffinity(0, sizeof(set), &set), 0);
	ck_assert_uint_eq(cgroup_cpus(), 1);
}
END_TEST

START_TEST(places)
{
	struct cgroup_place p;
	char text[64], want[128];

	put("self/cgroup", "3:memory:/x/y\n0::/a/b\n");
	put("a/b/file", "hello\n");
	put("memory/x/y/file", "v1\n");
	put("unified/a/other", "");
	ck_assert_int_eq(cgroup_find("memory", 0, &p), 0);
	ck_assert(p.is_v2);
	snprintf(want, sizeof(want), "%s/a/b", root);
	ck_assert_str_eq(p.dir, want);
	ck_assert_int_eq(cgroup_read(&p, "file", text, sizeof(text)), 6);
	ck_assert_str_eq(text, "hello\n");
	ck_assert_int_eq(cgroup_read(&p, "file", text, 4), 3);
	ck_assert_str_eq(text, "hel");
	ck_assert_int_eq(cgroup_read(&p, "none", text, sizeof(text)), -ENOENT);
	ck_assert(cgroup_ascend(&p));
	ck_assert(cgroup_ascend(&p));
	ck_assert_str_eq(p.dir, root);
	ck_assert(!cgroup_ascend(&p));
	ck_assert_str_eq(p.dir, root);
	ck_assert_int_eq(cgroup_find("memory", 1, &p), 0);
	snprintf(want, sizeof(want), "%s/unified", root);
	ck_assert_str_eq(p.dir, want);
	ck_assert_int_eq(cgroup_find("memory", 2, &p), 0);
	ck_assert(!p.is_v2);
	snprintf(want, sizeof(want), "%s/memory/x/y", root);
	ck_assert_str_eq(p.dir, want);
	ck_assert_int_eq(cgroup_find("memory", 3, &p), -ENOENT);
	ck_assert_int_eq(cgroup_find("cpu", 2, &p), -ENOENT);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("all");

	tcase_set_timeout(tc, 30);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, oom_kills, 0, 15);
	tcase_add_test(tc, path_that_leads_out);
	tcase_add_test(tc, oom_kills_here);
	tcase_add_loop_test(tc, cpus, 0, 17);
	tcase_add_test(tc, places);
	return run_case("cgroup", tc);
}
