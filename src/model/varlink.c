/*
 * varlink.c - framing and shape of Varlink messages.
 *
 * Finds NUL-terminated JSON objects in a byte stream and builds such messages.
 * Nothing is kept between calls but what is in the caller's buffer; a stream that
 * was answered with an error cannot be resumed, because where its next message
 * would begin is unknown.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/varlink.h"

#include "base/buf.h"

#include <string.h>

const char varlink_description[] =
    "# One running preforkd: its workers, and what can be asked of it.\n"
    "interface io.preforkd.Manager\n"
    "\n"
    "# Everything known about the master and its workers. The names in the object are\n"
    "# listed in preforkctl(1); new ones may be added, none is renamed.\n"
    "method Status() -> (status: object)\n"
    "\n"
    "# Loads settings and code anew. Answers when the new generation is committed or was\n"
    "# given up. Called with \"more\" it reports progress until then; only the last reply\n"
    "# has the generation.\n"
    "method Reload() -> (generation: ?int, progress: ?string)\n"
    "\n"
    "# Replaces the worker of a slot, or all of them one after another when slot is\n"
    "# absent. With wait, answers when the replacements serve.\n"
    "method Recycle(slot: ?int, wait: ?bool) -> ()\n"
    "\n"
    "# Changes the number of workers until the next reload.\n"
    "method Scale(workers: int) -> ()\n"
    "\n"
    "# Ends the master: gracefully, or at once with quick.\n"
    "method Stop(quick: ?bool) -> ()\n"
    "\n"
    "# What the worker of a slot is doing: the stacks of its threads (\"stacks\"), or what it\n"
    "# allocates and keeps (\"memory\"), traced for so many seconds, at most 600.\n"
    "method Report(slot: int, what: ?string, seconds: ?int) -> (text: string)\n"
    "\n"
    "# How the memory of the workers has changed, also of those that ended last in their slots.\n"
    "# To be called with \"more\": each reply but the last has one worker, with slot, serial,\n"
    "# generation, ended, preloaded, limit_rss_bytes, limit_uss_bytes, trim_gc_bytes and\n"
    "# trim_malloc_bytes (what the last trim gave back) and its samples: arrays of\n"
    "# ms, rss_bytes, uss_bytes, pss_bytes, requests, in_flight, fds, connections, null where not\n"
    "# known. The last one has what concerns all: name, workers, preloaded, and both limits.\n"
    "method Memory() -> (worker: ?object, facts: ?object)\n"
    "\n"
    "# Answers as long as the master's event loop turns.\n"
    "method Ping() -> ()\n"
    "\n"
    "# Everything is as it was before. last_words is what the failed worker wrote last.\n"
    "error ReloadFailed (reason: string, last_words: ?string)\n"
    "\n"
    "error NoSuchSlot (slot: int)\n"
    "\n"
    "error Refused (reason: string)\n";

const char varlink_service_description[] =
    "# What every Varlink service answers.\n"
    "interface org.varlink.service\n"
    "\n"
    "method GetInfo() -> (\n"
    "  vendor: string,\n"
    "  product: string,\n"
    "  version: string,\n"
    "  url: string,\n"
    "  interfaces: []string\n"
    ")\n"
    "\n"
    "method GetInterfaceDescription(interface: string) -> (description: string)\n"
    "\n"
    "error InterfaceNotFound (interface: string)\n"
    "\n"
    "error MethodNotFound (method: string)\n"
    "\n"
    "error MethodNotImplemented (method: string)\n"
    "\n"
    "error InvalidParameter (parameter: string)\n"
    "\n"
    "error ExpectedMore ()\n";

int
varlink_take(struct buf *b, size_t max, json_t **ret)
{
	const char *end = b->len == 0 ? NULL : memchr(b->data, '\0', b->len);
	json_t *message;
	size_t len;

	if (end == NULL)
		return b->len > max ? -EMSGSIZE : 0;
	len = (size_t)(end - b->data);
	if (len > max)
		return -EMSGSIZE;
	message = json_loadb(b->data, len, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(message)) {
		json_decref(message);
		return -EBADMSG;
	}
	buf_consume(b, len + 1);
	*ret = message;
	return 1;
}

/* A member that must be a boolean when it is there. */
static int
get_flag(const json_t *message, const char *key, bool *ret, struct err *e)
{
	const json_t *value = json_object_get(message, key);

	if (value != NULL && !json_is_boolean(value) && !json_is_null(value))
		return err_set(e, EBADMSG, "'%s' is not a boolean", key);
	*ret = json_is_true(value);
	return 0;
}

int
varlink_parse_call(json_t *message, struct varlink_call *ret, struct err *e)
{
	struct varlink_call call = { .message = message };
	json_t *parameters = json_object_get(message, "parameters");
	bool wants_upgrade = false;
	int r;

	call.method = json_string_value(json_object_get(message, "method"));
	if (call.method == NULL)
		return err_set(e, EBADMSG, "no 'method'");
	if ((r = get_flag(message, "more", &call.more, e)) < 0 ||
	    (r = get_flag(message, "oneway", &call.oneway, e)) < 0 ||
	    (r = get_flag(message, "upgrade", &wants_upgrade, e)) < 0)
		return r;
	if (wants_upgrade)
		return err_set(e, EBADMSG, "a connection cannot be upgraded to another protocol");
	if (call.more && call.oneway)
		return err_set(e, EBADMSG, "'more' and 'oneway' contradict each other");
	if (json_is_object(parameters)) {
		call.parameters = parameters;
	} else if (parameters == NULL || json_is_null(parameters)) {
		/* Stored in the message, so that its life is the message's. */
		call.parameters = json_object();
		if (call.parameters == NULL ||
		    json_object_set_new(message, "parameters", call.parameters) < 0)
			return err_set(e, ENOMEM, "out of memory");
	} else {
		return err_set(e, EBADMSG, "'parameters' is not an object");
	}
	*ret = call;
	return 0;
}

void
varlink_call_done(struct varlink_call *c)
{
	json_decref(c->message);
	*c = (struct varlink_call){ 0 };
}

static int
append_chunk(const char *data, size_t len, void *out)
{
	return buf_append(out, data, len) < 0 ? -1 : 0;
}

/* Appends a message whose first member is key = text. flag may be NULL. */
static int
put_message(struct buf *out, const char *key, const char *text, json_t *parameters,
    const char *flag)
{
	json_t *message = json_object();
	size_t before = out->len;
	int r = 0;

	if (message == NULL)
		return -ENOMEM;
	if (text != NULL)
		r |= json_object_set_new(message, key, json_string(text));
	if (parameters != NULL)
		r |= json_object_set(message, "parameters", parameters);
	if (flag != NULL)
		r |= json_object_set_new(message, flag, json_true());
	if (r == 0)
		r = json_dump_callback(message, append_chunk, out,
		    JSON_COMPACT | JSON_REAL_PRECISION(15));
	json_decref(message);
	if (r == 0 && !out->failed)
		r = buf_putc(out, '\0') < 0 ? -1 : 0;
	if (r != 0 || out->failed) {
		/* Half a message would be taken for the beginning of the next one. */
		if (out->data != NULL) {
			out->len = before;
			out->data[before] = '\0';
		}
		return -ENOMEM;
	}
	return 0;
}

int
varlink_put_call(struct buf *out, const char *method, json_t *parameters, bool more)
{
	return put_message(out, "method", method, parameters, more ? "more" : NULL);
}

int
varlink_put_oneway(struct buf *out, const char *method, json_t *parameters)
{
	return put_message(out, "method", method, parameters, "oneway");
}

int
varlink_put_reply(struct buf *out, json_t *parameters, bool continues)
{
	json_t *empty = NULL;
	int r;

	if (parameters == NULL) {
		parameters = empty = json_object();
		if (empty == NULL)
			return -ENOMEM;
	}
	r = put_message(out, NULL, NULL, parameters, continues ? "continues" : NULL);
	json_decref(empty);
	return r;
}

int
varlink_put_error(struct buf *out, const char *error, json_t *parameters)
{
	return put_message(out, "error", error, parameters, NULL);
}
