/*
 * replay.c - a main() for fuzz targets that feeds them the files named on the command line.
 *
 * Folders are read one level deep. Prints "N inputs replayed". Exit codes: 0, 1 when there
 * was no input (a corpus that was not found must not look like a success) or one could
 * not be read. A target that finds something aborts.
 */
#include "base/base.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 1 << 20 };

static unsigned replayed;

static int
replay_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data AUTO_FREE = malloc(INPUT_MAX);
	uint8_t *exact AUTO_FREE = NULL;
	size_t n;

	if (!f || !data) {
		perror(path);
		if (f)
			fclose(f);
		return -EIO;
	}
	n = fread(data, 1, INPUT_MAX, f);
	if (ferror(f) || !feof(f)) {
		fprintf(stderr, "%s: cannot be read, or is above %d bytes\n", path, INPUT_MAX);
		fclose(f);
		return -EIO;
	}
	fclose(f);
	/* In memory of its own size, so that a sanitizer sees every byte read beyond it. */
	exact = malloc(n > 0 ? n : 1);
	if (!exact)
		return -ENOMEM;
	memcpy(exact, data, n);
	LLVMFuzzerTestOneInput(exact, n);
	replayed++;
	return 0;
}

static int
replay_folder(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	char name[PATH_MAX];
	int r = 0;

	if (!dir) {
		perror(path);
		return -errno;
	}
	while (r == 0 && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		if (snprintf(name, sizeof(name), "%s/%s", path, entry->d_name) >= (int)sizeof(name))
			r = -ENAMETOOLONG;
		else
			r = replay_file(name);
	}
	closedir(dir);
	return r;
}

int
main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		struct stat st;
		int r;

		if (stat(argv[i], &st) < 0) {
			perror(argv[i]);
			return 1;
		}
		r = S_ISDIR(st.st_mode) ? replay_folder(argv[i]) : replay_file(argv[i]);
		if (r < 0)
			return 1;
	}
	printf("%u inputs replayed\n", replayed);
	return replayed > 0 ? 0 : 1;
}
