/*
 * fuzz_proc.c - the parsers of the kernel's texts, fed with anything.
 *
 * The first byte chooses the parser, the rest is its text, in an allocation of
 * exactly its size so that a look beyond its end is seen. What a parser accepts
 * must lie within the text.
 */
#include "system/cgroup_memory.h"
#include "system/proctext.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
parse_cgroup_path(const char *text, size_t len)
{
	static const char *const controllers[] = { "", "memory", "cpu" };

	for (size_t i = 0; i < ARRAY_LEN(controllers); i++) {
		const char *path = NULL;
		size_t path_len = 0;

		if (proctext_cgroup_path(text, len, controllers[i], &path, &path_len) < 0) {
			assert(!path);
			continue;
		}
		assert(path > text && path + path_len <= text + len);
		assert(path_len > 0 && path[0] == '/' && !memchr(path, '\n', path_len));
	}
}

static void
parse_memory_stat(const char *text, size_t len, bool is_v2)
{
	struct cgroup_memory m = { .current_bytes = UINT64_C(1) << 30 };
	uint64_t limit = PROCTEXT_UNLIMITED;

	if (cgroup_memory_parse(text, len, is_v2, &m, &limit) < 0)
		return;
	cgroup_memory_derive(&m);
	assert(m.split_known && m.sock_is_in_current == is_v2);
	assert(m.used_bytes <= m.current_bytes && m.other_bytes <= m.current_bytes);
	assert(m.anon_bytes >= m.current_bytes || m.other_bytes <= m.current_bytes - m.anon_bytes);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proctext_pressure pressure;
	AUTO_FREE char *text = NULL;
	struct proctext_stat stat;
	struct proctext_rollup rollup;
	uint64_t a = 0, b = 0;
	size_t len;

	if (size == 0)
		return 0;
	len = size - 1;
	text = malloc(len ? len : 1);
	if (!text)
		return 0;
	memcpy(text, data + 1, len);
	switch (data[0]) {
	case 'm':
		proctext_statm(text, len, &a, &b);
		break;
	case 's':
		if (proctext_stat(text, len, &stat) == 0)
			assert(stat.pid >= 0 && stat.ppid >= 0 && stat.pgrp >= 0);
		break;
	case 'r':
		if (proctext_rollup(text, len, &rollup) == 0)
			assert(memmem(text, len, "Swap:", 5) && memchr(text, '\n', len));
		break;
	case 'e':
		proctext_epoll_line(text, len, &a);
		break;
	case 'k':
		proctext_keyed(text, len, "oom_kill", &a);
		break;
	case 'n':
		proctext_number(text, len, &a);
		break;
	case 'c':
		if (proctext_cpu_max(text, len, &a, &b) == 0)
			assert(b > 0);
		break;
	case 'g':
		parse_cgroup_path(text, len);
		break;
	case 'K':
		if (proctext_kb(text, len, "VmHWM:", &a) == 0)
			assert(memchr(text, '\n', len));
		break;
	case 'p':
		if (proctext_pressure(text, len, &pressure) == 0)
			assert(pressure.avg10 <= 10099 && pressure.avg60 <= 10099);
		break;
	case '1':
	case '2':
		parse_memory_stat(text, len, data[0] == '2');
		break;
	default:
		break;
	}
	return 0;
}
