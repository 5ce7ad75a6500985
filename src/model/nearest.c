/*
 * nearest.c - edit distance for suggestions.
 *
 * Words longer than WORD_MAX are never near anything, which bounds the work.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/nearest.h"

#include <string.h>

enum { WORD_MAX = 40 };

static char
fold(char c)
{
	if (c >= 'A' && c <= 'Z')
		return (char)(c - 'A' + 'a');
	return c == '_' ? '-' : c;
}

/* Optimal string alignment distance of two words of at most WORD_MAX letters. */
static size_t
distance(const char *a, size_t n, const char *b, size_t m)
{
	size_t row[3][WORD_MAX + 1];
	size_t *before = row[0], *above = row[1], *here = row[2];

	for (size_t j = 0; j <= m; j++)
		above[j] = before[j] = j;
	for (size_t i = 1; i <= n; i++) {
		size_t *oldest = before;

		here[0] = i;
		for (size_t j = 1; j <= m; j++) {
			char x = fold(a[i - 1]), y = fold(b[j - 1]);
			size_t d = above[j - 1] + (x != y);

			d = MIN_OF(d, above[j] + 1);
			d = MIN_OF(d, here[j - 1] + 1);
			if (i > 1 && j > 1 && x == fold(b[j - 2]) && fold(a[i - 2]) == y)
				d = MIN_OF(d, before[j - 2] + 1);
			here[j] = d;
		}
		before = above;
		above = here;
		here = oldest;
	}
	return above[m];
}

void
nearest_offer(struct nearest *n, const char *word)
{
	size_t a = strnlen(n->text, WORD_MAX + 1);
	size_t b = strnlen(word, WORD_MAX + 1);
	size_t d, allowed;

	if (a == 0 || a > WORD_MAX || b > WORD_MAX)
		return;
	d = distance(n->text, a, word, b);
	/* A third of the letters may be wrong; of three letters, one. */
	allowed = MAX_OF(a, b) / 3;
	if (d > allowed || (n->best && d >= n->distance))
		return;
	n->best = word;
	n->distance = d;
}
