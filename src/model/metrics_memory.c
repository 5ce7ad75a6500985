/*
 * metrics_memory.c - the memory of all workers, of their control group, and the budget.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/metrics_parts.h"

#include "model/status_view.h"

struct size {
	const char *key, *name, *help;
};

static const struct size sums[] = {
	{ "rss_bytes", "memory_rss_bytes",
	  "Resident memory of workers and molds; what is shared counts in each." },
	{ "pss_bytes", "memory_pss_bytes",
	  "Memory of workers and molds; what is shared counts once." },
	{ "uss_bytes", "memory_uss_bytes", "Memory that only one of them uses." },
	{ "shared_bytes", "memory_shared_bytes", "The rest of it, which they share." },
	{ "swap_bytes", "memory_swap_bytes", "Memory of them that was swapped out." },
};

static const struct size cgroup_sizes[] = {
	{ "limit_bytes", "cgroup_memory_limit_bytes",
	  "The lowest limit of the control group and its ancestors." },
	{ "used_bytes", "cgroup_memory_used_bytes",
	  "Memory of the group with this limit, without cache that is dropped first." },
	{ "current_bytes", "cgroup_memory_current_bytes",
	  "Memory of this group, as the kernel compares it with the limit." },
	{ "anon_bytes", "cgroup_memory_anon_bytes", "Of it, heaps and stacks." },
	{ "file_bytes", "cgroup_memory_file_bytes", "Of it, page cache and tmpfs." },
	{ "sock_bytes", "cgroup_memory_sock_bytes",
	  "Buffers of sockets; cgroup v1 counts them beside the others." },
	{ "kernel_bytes", "cgroup_memory_kernel_bytes", "Of it, memory of the kernel." },
	{ "other_bytes", "cgroup_memory_other_bytes", "Of it, none of these." },
	{ "swap_bytes", "cgroup_memory_swap_bytes", "Memory that was swapped out." },
};

static const struct size budget_sizes[] = {
	{ "limit_bytes", "memory_limit_bytes", "What all may use: memory-limit." },
	{ "high_bytes", "memory_high_bytes", "Workers are replaced from here on: memory-high." },
	{ "used_bytes", "memory_limit_used_bytes", "Of the limit, by workers and by others." },
	{ "workers_bytes", "memory_limit_workers_bytes", "Of the limit, by workers." },
	{ "workers_fit", "memory_limit_workers_fit",
	  "How many fresh workers find room below memory-high." },
};

static void
put_sizes(const struct metrics_writer *w, const json_t *o, const struct size *sizes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (json_is_integer(json_object_get(o, sizes[i].key)))
			metrics_gauge(w, sizes[i].name, sizes[i].help, view_count(o, sizes[i].key));
}

static void
put_budget(const struct metrics_writer *w, const json_t *b)
{
	put_sizes(w, b, budget_sizes, ARRAY_LEN(budget_sizes));
	if (!json_is_object(b))
		return;
	metrics_gauge(w, "memory_limit_by_others", "1: memory-high is reached, and not by what "
	    "workers have grown; none is replaced before memory is nearly used up.",
	    view_flag(b, "by_others"));
	metrics_gauge(w, "memory_limit_futile", "1: workers need as much; none is replaced for it.",
	    view_flag(b, "futile"));
}

static void
put_trims(const struct metrics_writer *w, const json_t *t)
{
	if (!json_is_object(t))
		return;
	metrics_counter(w, "trims", "Times that a worker has trimmed its memory.",
	    view_count(t, "asked"));
	metrics_counter(w, "trimmed_bytes", "What they gave back.",
	    view_count(t, "given_back_bytes"));
}

void
metrics_memory(const struct metrics_writer *w, const json_t *memory)
{
	put_sizes(w, memory, sums, ARRAY_LEN(sums));
	put_sizes(w, json_object_get(memory, "cgroup"), cgroup_sizes, ARRAY_LEN(cgroup_sizes));
	put_budget(w, json_object_get(memory, "budget"));
	put_trims(w, json_object_get(memory, "trims"));
	if (json_is_boolean(json_object_get(memory, "pressure")))
		metrics_gauge(w, "memory_pressure", "1: processes have waited for memory lately.",
		    view_flag(memory, "pressure"));
}
