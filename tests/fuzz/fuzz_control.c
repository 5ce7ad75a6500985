/*
 * fuzz_control.c - bytes of a client of the control socket: framing, then the shape of a
 * call, then its strings into JSON and onto a terminal.
 *
 * Checks what the callers rely on: every message shortens the buffer, a call has a method
 * and an object of parameters, what is shown holds no control character.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"
#include "model/text.h"
#include "model/varlink.h"

#include <assert.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_text(const char *s)
{
	struct buf out = BUF_INIT(6 * VARLINK_REQUEST_MAX + 1);
	json_t *json = text_to_json(s);

	assert(json_is_string(json));
	assert(text_put_safe(&out, s, TEXT_ASCII) == 0);
	for (size_t i = 0; i < out.len; i++)
		assert(out.data[i] >= ' ' && out.data[i] < 0x7f);
	buf_free(&out);
	json_decref(json);
}

static void
check_call(json_t *message)
{
	struct varlink_call call;
	struct err e = { .text = "" };

	if (varlink_parse_call(message, &call, &e) < 0) {
		assert(e.text[0] != '\0');
		json_decref(message);
		return;
	}
	assert(call.method != NULL && json_is_object(call.parameters));
	assert(!(call.more && call.oneway));
	check_text(call.method);
	varlink_call_done(&call);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf in = BUF_INIT(4 * VARLINK_REQUEST_MAX);
	json_t *message;

	if (size == 0 || buf_append(&in, data, size) < 0) {
		buf_free(&in);
		return 0;
	}
	check_text(in.data);
	for (;;) {
		size_t before = in.len;

		if (varlink_take(&in, VARLINK_REQUEST_MAX, &message) <= 0)
			break;
		assert(in.len < before);
		check_call(message);
	}
	buf_free(&in);
	return 0;
}
