/*
 * words.c - a command line into words, without a shell.
 *
 * One allocation for the words' text and one for the array; both are bounded by
 * the length of the text.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/values.h"

#include <string.h>

static const char blanks[] = " \t\r\n";

/* Copies one word from *p to *out (both are moved on). -EINVAL: an open quote. */
static int
copy_word(const char **p, char **out, struct err *e)
{
	const char *s = *p;
	char *d = *out;
	char quote = '\0';

	for (; *s != '\0'; s++) {
		if (quote == '\0') {
			if (strchr(blanks, *s))
				break;
			if (*s == '\'' || *s == '"')
				quote = *s;
			else if (*s == '\\' && s[1] == '\0')
				return err_set(e, EINVAL, "the command ends in a backslash");
			else
				*d++ = *s == '\\' ? *++s : *s;
		} else if (*s == quote) {
			quote = '\0';
		} else {
			if (quote == '"' && *s == '\\' && (s[1] == '"' || s[1] == '\\'))
				s++;
			*d++ = *s;
		}
	}
	if (quote != '\0')
		return err_set(e, EINVAL, "the quote %c is not closed", quote);
	*d++ = '\0';
	*p = s;
	*out = d;
	return 0;
}

static int
check_word_start(const char *p, struct err *e)
{
	char quoted[24];
	char word[8] = "";

	if (!strchr(";|&<>#", *p))
		return 0;
	memcpy(word, p, MIN_OF(strcspn(p, blanks), sizeof(word) - 1));
	return err_set(e, EINVAL, "%s means nothing here, no shell reads this command: quote it"
	    " if the program wants it, or write sh -c '...'%s",
	    value_quote(word, quoted, sizeof(quoted)),
	    *p == ';' || *p == '#' ? "; a comment needs a line of its own" : "");
}

char **
value_split_words(const char *text, struct err *e)
{
	size_t len = strlen(text);
	char *store AUTO_FREE = NULL;
	char **words;
	const char *p = text;
	char *out;
	size_t n = 0;

	/* A word and the blank after it take two characters at least. */
	words = calloc(len / 2 + 3, sizeof(*words));
	store = malloc(len + 2);
	if (!words || !store) {
		free(words);
		err_set(e, ENOMEM, "out of memory");
		return NULL;
	}
	out = store;
	for (p += strspn(p, blanks); *p != '\0'; p += strspn(p, blanks)) {
		words[n++] = out;
		if (check_word_start(p, e) < 0 || copy_word(&p, &out, e) < 0) {
			free(words);
			return NULL;
		}
	}
	if (n == 0) {
		free(words);
		err_set(e, EINVAL, "the command is empty");
		return NULL;
	}
	TAKE_PTR(store);	/* words[0] is its start */
	return words;
}

void
values_free_words(char **words)
{
	if (!words)
		return;
	free(words[0]);
	free(words);
}
