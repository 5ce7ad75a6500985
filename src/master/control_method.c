/*
 * control_method.c - one message of a client: which method, are its parameters right.
 *
 * Answers what can be answered here (the service interface, wrong names and
 * parameters) and hands the rest to the master. A parameter that is not in the
 * interface is an error: a misspelt "wait" must not be taken for none.
 *
 * SPDX-License-Identifier: MIT
 */
#include "master/control_private.h"

#include "model/text.h"
#include "system/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PARAMETERS_MAX 3
#define SECONDS_MAX 600	/* of a report: for so long nobody else gets one */
#define URL "man:preforkctl(1)"

struct request {
	struct control_conn *conn;
	control_call_id id;
	json_t *parameters;
};

struct method {
	const char *name;
	bool changes;		/* not for an adopted connection */
	const char *parameters[PARAMETERS_MAX];
	void (*call)(const struct request *rq);
};

struct interface {
	const char *name;
	const char *description;
	const struct method *methods;
	size_t n_methods;
};

static void
answer(const struct request *rq, json_t *parameters)
{
	control_answer(rq->conn->owner, rq->id, NULL, parameters);
}

/* An error of the service interface; it has one member that names the culprit. */
static void
answer_error(const struct request *rq, const char *error, const char *key, const char *value)
{
	control_answer(rq->conn->owner, rq->id, error, json_pack("{s:o}", key,
	    text_to_json(value)));
}

static void
answer_bad_parameter(const struct request *rq, const char *name)
{
	answer_error(rq, VARLINK_SERVICE ".InvalidParameter", "parameter", name);
}

/* Who asks, for the log. */
static void
log_asked(const struct request *rq, const char *what)
{
	log_notice("%s asked by uid %u pid %d", what, (unsigned)rq->conn->uid,
	    (int)rq->conn->pid);
}

/* A number of 1..UINT_MAX; false: it was answered with the error. An absent one is
 * *ret = 0 when it is optional. */
static bool
get_number(const struct request *rq, const char *name, bool is_optional, unsigned *ret)
{
	const json_t *value = json_object_get(rq->parameters, name);
	json_int_t n = json_integer_value(value);

	if (is_optional && (value == NULL || json_is_null(value))) {
		*ret = 0;
		return true;
	}
	if (n < 1 || n > INT32_MAX) {
		answer_bad_parameter(rq, name);
		return false;
	}
	*ret = (unsigned)n;
	return true;
}

/* An optional flag that is false when absent. */
static bool
get_flag(const struct request *rq, const char *name, bool *ret)
{
	const json_t *value = json_object_get(rq->parameters, name);

	if (value != NULL && !json_is_null(value) && !json_is_boolean(value)) {
		answer_bad_parameter(rq, name);
		return false;
	}
	*ret = json_is_true(value);
	return true;
}

static void
call_ping(const struct request *rq)
{
	answer(rq, NULL);
}

static void
call_status(const struct request *rq)
{
	struct control *c = rq->conn->owner;
	json_t *status = c->ops->status(c->ctx);

	if (status == NULL)
		control_error(c, rq->id, "Refused", "out of memory", NULL);
	else
		answer(rq, json_pack("{s:o}", "status", status));
}

static void
call_reload(const struct request *rq)
{
	struct control *c = rq->conn->owner;

	log_asked(rq, "reload");
	c->ops->reload(c->ctx, rq->id);
}

static void
call_recycle(const struct request *rq)
{
	struct control *c = rq->conn->owner;
	char what[48] = "recycle of all workers";
	unsigned slot;
	bool wants_wait;

	if (!get_number(rq, "slot", true, &slot) || !get_flag(rq, "wait", &wants_wait))
		return;
	if (slot != 0)
		snprintf(what, sizeof(what), "recycle of slot %u", slot);
	log_asked(rq, what);
	rq->conn->slot = slot;
	c->ops->recycle(c->ctx, rq->id, slot, wants_wait);
}

static void
call_scale(const struct request *rq)
{
	struct control *c = rq->conn->owner;
	char what[48];
	unsigned workers;

	if (!get_number(rq, "workers", false, &workers))
		return;
	snprintf(what, sizeof(what), "scale to %u workers", workers);
	log_asked(rq, what);
	c->ops->scale(c->ctx, rq->id, workers);
}

static void
call_stop(const struct request *rq)
{
	struct control *c = rq->conn->owner;
	bool is_quick;

	if (!get_flag(rq, "quick", &is_quick))
		return;
	log_asked(rq, is_quick ? "quick stop" : "stop");
	c->ops->stop(c->ctx, rq->id, is_quick);
}

static void
call_report(const struct request *rq)
{
	struct control *c = rq->conn->owner;
	const json_t *what = json_object_get(rq->parameters, "what");
	const char *word = json_string_value(what);
	bool is_memory = word != NULL && strcmp(word, "memory") == 0;
	unsigned slot, seconds;

	if (!get_number(rq, "slot", false, &slot) || !get_number(rq, "seconds", true, &seconds))
		return;
	if (what != NULL && !json_is_null(what) && !is_memory &&
	    (word == NULL || strcmp(word, "stacks") != 0)) {
		answer_bad_parameter(rq, "what");
		return;
	}
	if (seconds > (is_memory ? SECONDS_MAX : 0)) {
		answer_bad_parameter(rq, "seconds");
		return;
	}
	rq->conn->slot = slot;
	c->ops->report(c->ctx, rq->id, slot, is_memory, seconds);
}

/* One part goes out after the other, each when the one before it has been taken. */
static void
call_memory(const struct request *rq)
{
	if (rq->conn->call != rq->id)	/* nobody wants an answer */
		return;
	if (!rq->conn->wants_more) {
		control_answer(rq->conn->owner, rq->id, VARLINK_SERVICE ".ExpectedMore", NULL);
		return;
	}
	rq->conn->streams = true;
	rq->conn->cursor = 0;
}

static void
call_get_info(const struct request *rq)
{
	answer(rq, json_pack("{s:s, s:s, s:s, s:s, s:[s, s]}", "vendor", "preforkd", "product",
	    "preforkd", "version", PACKAGE_VERSION, "url", URL, "interfaces", VARLINK_SERVICE,
	    VARLINK_INTERFACE));
}

static void call_get_description(const struct request *rq);

static const struct method manager_methods[] = {
	{ "Status", false, { NULL }, call_status },
	{ "Reload", true, { NULL }, call_reload },
	{ "Recycle", true, { "slot", "wait" }, call_recycle },
	{ "Scale", true, { "workers" }, call_scale },
	{ "Stop", true, { "quick" }, call_stop },
	{ "Report", true, { "slot", "what", "seconds" }, call_report },
	{ "Memory", false, { NULL }, call_memory },
	{ "Ping", false, { NULL }, call_ping },
};

static const struct method service_methods[] = {
	{ "GetInfo", false, { NULL }, call_get_info },
	{ "GetInterfaceDescription", false, { "interface" }, call_get_description },
};

static const struct interface interfaces[] = {
	{ VARLINK_INTERFACE, varlink_description, manager_methods, ARRAY_LEN(manager_methods) },
	{ VARLINK_SERVICE, varlink_service_description, service_methods,
	    ARRAY_LEN(service_methods) },
};

static const struct interface *
find_interface(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(interfaces); i++)
		if (strlen(interfaces[i].name) == len &&
		    memcmp(interfaces[i].name, name, len) == 0)
			return &interfaces[i];
	return NULL;
}

static void
call_get_description(const struct request *rq)
{
	const char *name = json_string_value(json_object_get(rq->parameters, "interface"));
	const struct interface *i;

	if (name == NULL) {
		answer_bad_parameter(rq, "interface");
		return;
	}
	i = find_interface(name, strlen(name));
	if (i == NULL)
		answer_error(rq, VARLINK_SERVICE ".InterfaceNotFound", "interface", name);
	else
		answer(rq, json_pack("{s:s}", "description", i->description));
}

static const char *
unknown_parameter(const struct method *m, json_t *parameters)
{
	const char *key;
	json_t *value UNUSED;

	json_object_foreach(parameters, key, value) {
		bool is_known = false;

		for (size_t i = 0; i < PARAMETERS_MAX && m->parameters[i] != NULL; i++)
			is_known = is_known || strcmp(m->parameters[i], key) == 0;
		if (!is_known)
			return key;
	}
	return NULL;
}

static void
run(const struct request *rq, const char *name)
{
	const char *dot = strrchr(name, '.');
	const struct interface *interface = dot == NULL ? NULL :
	    find_interface(name, (size_t)(dot - name));
	const struct method *m = NULL;
	const char *unknown;

	if (interface == NULL) {
		AUTO_FREE char *prefix = strndup(name, dot == NULL ? 0 : (size_t)(dot - name));

		answer_error(rq, VARLINK_SERVICE ".InterfaceNotFound", "interface",
		    prefix == NULL ? "" : prefix);
		return;
	}
	for (size_t i = 0; m == NULL && i < interface->n_methods; i++)
		if (strcmp(interface->methods[i].name, dot + 1) == 0)
			m = &interface->methods[i];
	if (m == NULL) {
		answer_error(rq, VARLINK_SERVICE ".MethodNotFound", "method", name);
		return;
	}
	unknown = unknown_parameter(m, rq->parameters);
	if (unknown != NULL)
		answer_bad_parameter(rq, unknown);
	else if (m->changes && rq->conn->is_adopted)
		control_error(rq->conn->owner, rq->id, "Refused",
		    "this connection may only read", NULL);
	else
		m->call(rq);
}

void
control_dispatch(struct control_conn *conn, json_t *message)
{
	struct control *c = conn->owner;
	struct varlink_call call;
	struct err e;
	int r = varlink_parse_call(message, &call, &e);

	if (r < 0) {
		json_decref(message);
		if (log_limit_pass(&c->client_log, clock_now_ms(), NULL))
			log_info("control: not a Varlink call from uid %u pid %d (%s), closing its"
			    " connection", (unsigned)conn->uid, (int)conn->pid, e.text);
		conn->is_broken = true;
		return;
	}

	struct request rq = { .conn = conn, .id = ++c->last_id, .parameters = call.parameters };

	/* The answers to a call that wants none find no connection. */
	if (!call.oneway) {
		conn->call = rq.id;
		conn->wants_more = call.more;
		conn->slot = 0;
		conn->streams = false;
	}
	run(&rq, call.method);
	varlink_call_done(&call);
}
