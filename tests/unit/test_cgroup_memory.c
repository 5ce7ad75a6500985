/*
 * test_cgroup_memory.c - the memory of control groups of every layout, made up, and the real one.
 *
 * SPDX-License-Identifier: MIT
 */
#include "system/cgroup_memory.h"

#include "made_up.h"
#include "run_case.h"

#define MB     (UINT64_C(1) << 20)
#define NONE   UINT64_MAX
#define V1_HUGE "9223372036854771712\n"

#define STAT_V2 \
	"anon 41943040\nfile 20971520\nkernel 5242880\nkernel_stack 1048576\npagetables 2097152\n" \
	"sec_pagetables 0\npercpu 1024\nsock 3145728\nshmem 0\nfile_mapped 1\ninactive_anon 7\n" \
	"active_anon 8\ninactive_file 10485760\nactive_file 10485760\nslab 2096128\n" \
	"slab_reclaimable 1048576\n"
#define STAT_V2_OLD \
	"anon 41943040\nfile 20971520\nkernel_stack 1048576\nslab 2097152\nsock 3145728\n" \
	"inactive_file 10485760\npagetables 1048576\npercpu 1048576\n"
#define STAT_V1(limit) \
	"cache 1\nrss 2\ninactive_file 3\nhierarchical_memory_limit " limit \
	"hierarchical_memsw_limit " limit "total_cache 20971520\ntotal_rss 41943040\n" \
	"total_swap 4194304\ntotal_inactive_file 10485760\n"

static void
set_up(void)
{
	setup();
	cgroup_memory_forget();
	put("meminfo", "MemTotal:        8388608 kB\nMemFree:  1 kB\n");
}

static void
tear_down(void)
{
	cgroup_memory_forget();
	teardown();
}

#define FILES_MAX 8

START_TEST(limits)
{
	static const struct {
		const char *label, *membership;
		const char *files[FILES_MAX][2];
		uint64_t limit, current;	/* current NONE: no group */
		const char *file;
	} cases[] = {
		{ "v2", "0::/a\n", {{ "a/memory.current", "5242880\n" },
		    { "a/memory.max", "104857600\n" }, { "a/memory.high", "max\n" }},
		    100 * MB, 5 * MB, "memory.max" },
		{ "v2, no limit", "0::/a\n", {{ "a/memory.current", "5242880\n" },
		    { "a/memory.max", "max\n" }, { "a/memory.high", "max\n" }}, 0, 5 * MB, NULL },
		{ "v2, high is lower", "0::/a\n", {{ "a/memory.current", "5242880\n" },
		    { "a/memory.max", "104857600\n" }, { "a/memory.high", "73400320\n" }},
		    70 * MB, 5 * MB, "memory.high" },
		{ "v2, high alone", "0::/a\n", {{ "a/memory.current", "5242880\n" },
		    { "a/memory.max", "max\n" }, { "a/memory.high", "73400320\n" }},
		    70 * MB, 5 * MB, "memory.high" },
		{ "v2, high above max", "0::/a\n", {{ "a/memory.current", "5242880\n" },
		    { "a/memory.max", "104857600\n" }, { "a/memory.high", "134217728\n" }},
		    100 * MB, 5 * MB, "memory.max" },
		{ "v2, parent is tighter", "0::/a/b\n", {{ "a/b/memory.current", "5242880\n" },
		    { "a/b/memory.max", "104857600\n" }, { "a/memory.current", "6291456\n" },
		    { "a/memory.max", "52428800\n" }}, 50 * MB, 6 * MB, "memory.max" },
		{ "v2, parent throttles earlier", "0::/a/b\n",
		    {{ "a/b/memory.current", "5242880\n" }, { "a/b/memory.max", "104857600\n" },
		    { "a/memory.current", "6291456\n" }, { "a/memory.max", "max\n" },
		    { "a/memory.high", "52428800\n" }}, 50 * MB, 6 * MB, "memory.high" },
		{ "v2, grandparent alone", "0::/a/b/c\n",
		    {{ "a/b/c/memory.current", "5242880\n" }, { "a/b/c/memory.max", "max\n" },
		    { "a/b/memory.current", "5242880\n" }, { "a/b/memory.max", "max\n" },
		    { "a/memory.current", "6291456\n" }, { "a/memory.max", "52428800\n" }},
		    50 * MB, 6 * MB, "memory.max" },
		{ "v2, parent is looser", "0::/a/b\n", {{ "a/b/memory.current", "5242880\n" },
		    { "a/b/memory.max", "104857600\n" }, { "a/memory.current", "6291456\n" },
		    { "a/memory.max", "209715200\n" }}, 100 * MB, 5 * MB, "memory.max" },
		{ "v2, the same: the parent's is reached first", "0::/a/b\n",
		    {{ "a/b/memory.current", "5242880\n" }, { "a/b/memory.max", "104857600\n" },
		    { "a/memory.current", "6291456\n" }, { "a/memory.max", "104857600\n" }},
		    100 * MB, 6 * MB, "memory.max" },
		{ "v2, controller ends above us", "0::/a/b\n", {{ "a/b/cgroup.procs", "1\n" },
		    { "a/memory.current", "6291456\n" }, { "a/memory.max", "52428800\n" }},
		    50 * MB, 6 * MB, "memory.max" },
		{ "v2, own group as root of the mount", "0::/\n", {{ "memory.current", "5242880\n" },
		    { "memory.max", "104857600\n" }}, 100 * MB, 5 * MB, "memory.max" },
		{ "v2, path of the host", "0::/docker/x\n", {{ "memory.current", "5242880\n" },
		    { "memory.max", "104857600\n" }}, 100 * MB, 5 * MB, "memory.max" },
		{ "v2, above the machine", "0::/a\n", {{ "a/memory.current", "5242880\n" },
		    { "a/memory.max", "17179869184\n" }}, 0, 5 * MB, NULL },
		{ "v2, as large as the machine", "0::/a\n", {{ "a/memory.current", "5242880\n" },
		    { "a/memory.max", "8589934592\n" }}, 8192 * MB, 5 * MB, "memory.max" },
		{ "v2, nothing is allowed", "0::/a\n", {{ "a/memory.current", "5242880\n" },
		    { "a/memory.max", "0\n" }}, 1, 5 * MB, "memory.max" },
		{ "v2, limit cannot be read", "0::/a\n", {{ "a/memory.current", "5242880\n" },
		    { "a/memory.max", "x\n" }}, 0, 5 * MB, NULL },
		{ "v2, machine's root", "0::/\n", {{ "memory.stat", STAT_V2 }}, 0, NONE, NULL },
		{ "v1", "4:memory:/a\n", {{ "memory/a/memory.usage_in_bytes", "5242880\n" },
		    { "memory/a/memory.limit_in_bytes", "104857600\n" }}, 100 * MB, 5 * MB,
		    "memory.limit_in_bytes" },
		{ "v1, no limit", "4:memory:/a\n", {{ "memory/a/memory.usage_in_bytes", "5242880\n" },
		    { "memory/a/memory.limit_in_bytes", V1_HUGE },
		    { "memory/a/memory.stat", STAT_V1(V1_HUGE) }}, 0, 5 * MB, NULL },
		{ "v1, parent is tighter", "4:memory:/a/b\n",
		    {{ "memory/a/b/memory.usage_in_bytes", "5242880\n" },
		    { "memory/a/b/memory.limit_in_bytes", "104857600\n" },
		    { "memory/a/memory.usage_in_bytes", "6291456\n" },
		    { "memory/a/memory.limit_in_bytes", "52428800\n" }}, 50 * MB, 6 * MB,
		    "memory.limit_in_bytes" },
		{ "v1, an ancestor that cannot be seen", "4:memory:/docker/x\n",
		    {{ "memory/memory.usage_in_bytes", "5242880\n" },
		    { "memory/memory.limit_in_bytes", "104857600\n" },
		    { "memory/memory.stat", STAT_V1("52428800\n") }}, 50 * MB, 5 * MB,
		    "hierarchical_memory_limit" },
		{ "v1, below the machine's root", "4:memory:/a\n",
		    {{ "memory/release_agent", "" }, { "memory/memory.usage_in_bytes", "99999999\n" },
		    { "memory/memory.limit_in_bytes", "1048576\n" },
		    { "memory/a/memory.usage_in_bytes", "5242880\n" },
		    { "memory/a/memory.limit_in_bytes", V1_HUGE }}, 0, 5 * MB, NULL },
		{ "v1, in the machine's root", "4:memory:/\n", {{ "memory/release_agent", "" },
		    { "memory/memory.usage_in_bytes", "99999999\n" },
		    { "memory/memory.limit_in_bytes", V1_HUGE }}, 0, NONE, NULL },
		{ "hybrid, memory in v1", "4:memory:/a\n0::/x\n",
		    {{ "memory/a/memory.usage_in_bytes", "5242880\n" },
		    { "memory/a/memory.limit_in_bytes", "104857600\n" },
		    { "unified/x/memory.pressure", "" }}, 100 * MB, 5 * MB,
		    "memory.limit_in_bytes" },
		{ "hybrid, memory in v2", "1:name=systemd:/x\n0::/a\n",
		    {{ "unified/a/memory.current", "5242880\n" },
		    { "unified/a/memory.max", "104857600\n" }}, 100 * MB, 5 * MB, "memory.max" },
		{ "no group", "", {{0}}, 0, NONE, NULL },
		{ "no controller", "5:cpu:/\n", {{ "memory/memory.usage_in_bytes", "1\n" }}, 0, NONE,
		    NULL },
		{ "usage cannot be read", "0::/a\n", {{ "a/memory.current", "" },
		    { "a/memory.max", "104857600\n" }}, 0, NONE, NULL },
	};
	struct cgroup_memory m = { .limit_bytes = 77 };
	int r;

	put("self/cgroup", cases[_i].membership);
	for (size_t i = 0; i < FILES_MAX && cases[_i].files[i][0]; i++)
		put(cases[_i].files[i][0], cases[_i].files[i][1]);
	r = cgroup_memory_read(&m);
	if (cases[_i].current == NONE) {
		ck_assert_msg(r == -ENOENT, "%s: %d", cases[_i].label, r);
		ck_assert_uint_eq(m.limit_bytes, 77);
		ck_assert_ptr_null(cgroup_memory_dir());
		return;
	}
	ck_assert_msg(r == 0, "%s: %d", cases[_i].label, r);
	ck_assert_msg(m.limit_bytes == cases[_i].limit, "%s: %ju", cases[_i].label,
	    (uintmax_t)m.limit_bytes);
	ck_assert_msg(m.current_bytes == cases[_i].current, "%s: %ju", cases[_i].label,
	    (uintmax_t)m.current_bytes);
	ck_assert_pstr_eq(m.limit_file, cases[_i].file);
	ck_assert_ptr_nonnull(cgroup_memory_dir());
}
END_TEST

#define N_LIMITS 29

START_TEST(split_v2)
{
	struct cgroup_memory m;

	put("self/cgroup", "0::/a\n");
	put("a/memory.current", "73400320\n");
	put("a/memory.max", "104857600\n");
	put("a/memory.swap.current", "4194304\n");
	put("a/memory.swap.max", "8388608\n");
	put("a/memory.stat", STAT_V2);
	ck_assert_int_eq(cgroup_memory_read(&m), 0);
	ck_assert(m.split_known && m.sock_known && m.sock_is_in_current);
	ck_assert_uint_eq(m.used_bytes, 60 * MB);
	ck_assert_uint_eq(m.anon_bytes, 40 * MB);
	ck_assert_uint_eq(m.file_bytes, 20 * MB);
	ck_assert_uint_eq(m.inactive_file_bytes, 10 * MB);
	ck_assert_uint_eq(m.sock_bytes, 3 * MB);
	ck_assert_uint_eq(m.kernel_bytes, 5 * MB);
	ck_assert(m.kernel_cache_known);
	ck_assert_uint_eq(m.kernel_cache_bytes, MB);
	ck_assert_uint_eq(m.other_bytes, 2 * MB);
	ck_assert_uint_eq(m.swap_bytes, 4 * MB);
	ck_assert_uint_eq(m.swap_limit_bytes, 8 * MB);
	/* kernels before 5.18 have the parts alone */
	put("a/memory.stat", STAT_V2_OLD);
	ck_assert_int_eq(cgroup_memory_read(&m), 0);
	ck_assert_uint_eq(m.kernel_bytes, 5 * MB);
	ck_assert(!m.kernel_cache_known);
	ck_assert_uint_eq(m.other_bytes, 2 * MB);
	/* the sum of parts that were read later may be more than the whole */
	put("a/memory.current", "31457280\n");
	ck_assert_int_eq(cgroup_memory_read(&m), 0);
	ck_assert_uint_eq(m.used_bytes, 20 * MB);
	ck_assert_uint_eq(m.other_bytes, 0);
	put("a/memory.current", "1048576\n");
	ck_assert_int_eq(cgroup_memory_read(&m), 0);
	ck_assert_uint_eq(m.used_bytes, 0);
	/* without it, nothing is said of it */
	put("a/memory.stat", "anon 5\nfile");
	ck_assert_int_eq(cgroup_memory_read(&m), 0);
	ck_assert(!m.split_known && !m.sock_known);
	ck_assert_uint_eq(m.used_bytes, MB);
	ck_assert_uint_eq(m.anon_bytes, 0);
	ck_assert_uint_eq(m.limit_bytes, 100 * MB);
}
END_TEST

START_TEST(split_v1)
{
	struct cgroup_memory m;

	put("self/cgroup", "4:memory:/a\n");
	put("memory/a/memory.usage_in_bytes", "73400320\n");
	put("memory/a/memory.limit_in_bytes", "104857600\n");
	put("memory/a/memory.memsw.limit_in_bytes", "115343360\n");
	put("memory/a/memory.kmem.usage_in_bytes", "5242880\n");
	put("memory/a/memory.kmem.tcp.usage_in_bytes", "0\n");
	put("memory/a/memory.kmem.tcp.limit_in_bytes", V1_HUGE);
	put("memory/a/memory.stat", STAT_V1("104857600\n"));
	ck_assert_int_eq(cgroup_memory_read(&m), 0);
	ck_assert(m.split_known && !m.sock_known && !m.sock_is_in_current);
	ck_assert_str_eq(m.limit_file, "memory.limit_in_bytes");
	ck_assert_uint_eq(m.used_bytes, 60 * MB);
	ck_assert_uint_eq(m.anon_bytes, 40 * MB);
	ck_assert_uint_eq(m.file_bytes, 20 * MB);
	ck_assert_uint_eq(m.kernel_bytes, 5 * MB);
	ck_assert_uint_eq(m.other_bytes, 5 * MB);
	ck_assert_uint_eq(m.swap_bytes, 4 * MB);
	ck_assert_uint_eq(m.swap_limit_bytes, 10 * MB);
	/* sockets are beside it */
	put("memory/a/memory.kmem.tcp.usage_in_bytes", "3145728\n");
	ck_assert_int_eq(cgroup_memory_read(&m), 0);
	ck_assert(m.sock_known);
	ck_assert_uint_eq(m.sock_bytes, 3 * MB);
	ck_assert_uint_eq(m.other_bytes, 5 * MB);
	/* a limit on them switches their count on */
	put("memory/a/memory.kmem.tcp.usage_in_bytes", "0\n");
	put("memory/a/memory.kmem.tcp.limit_in_bytes", "4194304\n");
	ck_assert_int_eq(cgroup_memory_read(&m), 0);
	ck_assert(m.sock_known);
	ck_assert_uint_eq(m.sock_bytes, 0);
}
END_TEST

/* The own group's limit at once, an ancestor's when it is looked for, another group when the old
 * one is gone. */
START_TEST(changes)
{
	struct cgroup_memory m;
	char want[128], path[128];

	put("self/cgroup", "0::/a/b\n");
	put("a/memory.current", "6291456\n");
	put("a/memory.max", "209715200\n");
	put("a/b/memory.current", "5242880\n");
	put("a/b/memory.max", "104857600\n");
	ck_assert_int_eq(cgroup_memory_read(&m), 0);
	ck_assert_uint_eq(m.limit_bytes, 100 * MB);
	put("a/b/memory.max", "157286400\n");
	ck_assert_int_eq(cgroup_memory_read(&m), 0);
	ck_assert_uint_eq(m.limit_bytes, 150 * MB);
	put("a/memory.max", "52428800\n");
	ck_assert_int_eq(cgroup_memory_read(&m), 0);
	ck_assert_uint_eq(m.limit_bytes, 150 * MB);
	ck_assert_int_eq(cgroup_memory_find(), 0);
	ck_assert_int_eq(cgroup_memory_read(&m), 0);
	ck_assert_uint_eq(m.limit_bytes, 50 * MB);
	ck_assert_uint_eq(m.current_bytes, 6 * MB);
	snprintf(want, sizeof(want), "%s/a", root);
	ck_assert_str_eq(cgroup_memory_dir(), want);
	/* what stays open says nothing any more */
	put("a/memory.current", "");
	put("self/cgroup", "0::/c\n");
	put("c/memory.current", "7340032\n");
	put("c/memory.max", "max\n");
	ck_assert_int_eq(cgroup_memory_read(&m), 0);
	ck_assert_uint_eq(m.current_bytes, 7 * MB);
	ck_assert_uint_eq(m.limit_bytes, 0);
	put("c/memory.current", "");
	snprintf(path, sizeof(path), "%s/c/memory.current", root);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(cgroup_memory_read(&m), -ENOENT);
	ck_assert_ptr_null(cgroup_memory_dir());
	/* nobody looks at the tree again at once, but a new search finds it */
	put("c/memory.current", "7340032\n");
	ck_assert_int_eq(cgroup_memory_read(&m), -ENOENT);
	ck_assert_int_eq(cgroup_memory_find(), 0);
	ck_assert_int_eq(cgroup_memory_read(&m), 0);
}
END_TEST

START_TEST(machine)
{
	ck_assert_uint_eq(cgroup_machine_bytes(), 8192 * MB);
	cgroup_memory_forget();
	put("meminfo", "MemFree: 5 kB\n");
	ck_assert_uint_eq(cgroup_machine_bytes(), 0);
	put("meminfo", "MemTotal: 5");
	ck_assert_uint_eq(cgroup_machine_bytes(), 0);
	/* then every limit counts but the one that is none */
	put("self/cgroup", "4:memory:/a\n");
	put("memory/a/memory.usage_in_bytes", "5242880\n");
	put("memory/a/memory.limit_in_bytes", "17179869184\n");
	struct cgroup_memory m;
	ck_assert_int_eq(cgroup_memory_read(&m), 0);
	ck_assert_uint_eq(m.limit_bytes, 16384 * MB);
	put("memory/a/memory.limit_in_bytes", V1_HUGE);
	ck_assert_int_eq(cgroup_memory_read(&m), 0);
	ck_assert_uint_eq(m.limit_bytes, 0);
}
END_TEST

START_TEST(here)
{
	struct cgroup_memory m = {0};
	int r;

	procmem_root = "/proc";
	cgroup_root = "/sys/fs/cgroup";
	cgroup_memory_forget();
	ck_assert_uint_ge(cgroup_machine_bytes(), 64 * MB);
	r = cgroup_memory_read(&m);
	ck_assert(r == 0 || r == -ENOENT);
	if (r < 0)
		return;
	ck_assert_uint_gt(m.current_bytes, 0);
	ck_assert_uint_le(m.used_bytes, m.current_bytes);
	ck_assert_uint_lt(m.limit_bytes, cgroup_machine_bytes());
	ck_assert(m.split_known);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("all");

	tcase_set_timeout(tc, 30);
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_loop_test(tc, limits, 0, N_LIMITS);
	tcase_add_test(tc, split_v2);
	tcase_add_test(tc, split_v1);
	tcase_add_test(tc, changes);
	tcase_add_test(tc, machine);
	tcase_add_test(tc, here);
	return run_case("cgroup_memory", tc);
}
