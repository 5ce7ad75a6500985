/*
 * load_head.c - heads of HTTP/1 responses, as far as the clients need them.
 *
 * Chunked bodies and bodies up to the end of the connection are refused: without a length
 * nobody can tell whether a response is complete.
 */
#include "load_head.h"

#include "base/base.h"
#include "base/err.h"
#include "model/values.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* The value of a header, or NULL. */
static const char *
head_find(const char *head, const char *name)
{
	const char *at = strcasestr(head, name);

	return at ? at + strlen(name) + strspn(at + strlen(name), " \t") : NULL;
}

/* The digits at the start of text. */
static int
number_parse(const char *text, uint64_t *ret)
{
	char digits[20];
	size_t len = strspn(text, "0123456789");
	struct err e = { 0 };

	if (len == 0 || len >= sizeof(digits))
		return -EBADMSG;
	memcpy(digits, text, len);
	digits[len] = '\0';
	return value_parse_count(digits, ret, &e);
}

int
head_parse(const char *head, struct head *ret)
{
	const char *length, *connection;
	struct head h;

	if (strncmp(head, "HTTP/1.0 ", 9) != 0 && strncmp(head, "HTTP/1.1 ", 9) != 0)
		return -EBADMSG;
	length = head_find(head, "\r\nContent-Length:");
	if (!length || number_parse(length, &h.length) < 0 || number_parse(head + 9, &h.status) < 0)
		return -EBADMSG;
	connection = head_find(head, "\r\nConnection:");
	if (head[7] == '0')
		h.closes = !connection || strncasecmp(connection, "keep-alive", 10) != 0;
	else
		h.closes = connection && strncasecmp(connection, "close", 5) == 0;
	*ret = h;
	return 0;
}
