/*
 * fuzz_proc.c - the parsers of the kernel's texts, fed with anything.
 *
 * The first byte chooses the parser, the rest is its text, in an allocation of
 * exactly its size so that a look beyond its end is seen. What a parser accepts
 * must lie within the text.
 */
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

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
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
	default:
		break;
	}
	return 0;
}
