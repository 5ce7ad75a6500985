/*
 * fuzz_message.c - any datagram: parsed without harm, and its texts come out clean.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"
#include "model/message.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_text(const char *text, size_t len)
{
	AUTO_BUF struct buf b = BUF_INIT(2 * MESSAGE_MAX);

	message_text(text, len, &b);
	assert(!b.failed && b.len <= len);
	for (size_t i = 0; i < b.len; i++) {
		unsigned char c = (unsigned char)b.data[i];

		assert(c >= 0x20 || c == '\n' || c == '\t');
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct message m = {0};

	if (message_parse((const char *)data, size, &m) < 0)
		return 0;
	if ((m.has & (MK_ERROR | MK_TEXT)) != 0)
		check_text(m.text, m.text_len);
	if ((m.has & MK_STATUS) != 0)
		check_text(m.status, m.status_len);
	if ((m.has & MK_SERVER) != 0)
		check_text(m.server, m.server_len);
	if ((m.has & MK_UNTRIMMED) != 0)
		check_text(m.untrimmed, m.untrimmed_len);
	if ((m.has & MK_TRIMMED) != 0)
		for (size_t i = 0; i < ARRAY_LEN(m.trimmed); i++)
			assert(m.trimmed[i] <= MESSAGE_SIZE_MAX);
	return 0;
}
