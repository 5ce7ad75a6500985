/*
 * commands.c - the commands of preforkctl.
 *
 * Results go to stdout, everything that is said about them to stderr. With --json the
 * result is what the master answered, also when it is an error.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ctl/commands.h"

#include "base/io.h"
#include "model/status.h"
#include "model/values.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define PING_MS    UINT64_C(10000)	/* before a wait without end */
#define OUTPUT_MAX (32u << 20)

static enum ctl_exit
exit_of(int r, const struct err *e)
{
	ctl_complain("%s", e->text);
	return r == -ETIMEDOUT ? CTL_TIMEOUT : CTL_FAILED;
}

void
command_show_json(const json_t *value)
{
	(void)json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII | JSON_ENCODE_ANY |
	    JSON_REAL_PRECISION(15));
	(void)putc('\n', stdout);
}

static const char *
text_of(const struct client_answer *a, const char *key)
{
	return json_string_value(json_object_get(a->parameters, key));
}

/* Says what the master's error means; CTL_DONE when it is none. */
static enum ctl_exit
check_answer(const struct ctl_request *rq, const struct client_answer *a, const char *what)
{
	const char *reason = text_of(a, "reason"), *words = text_of(a, "last_words");
	json_t *slot = json_object_get(a->parameters, "slot");

	if (a->error == NULL)
		return CTL_DONE;
	if (rq->options->as_json)
		command_show_json(a->message);
	if (json_is_integer(slot))
		ctl_complain("%s: there is no worker in slot %" JSON_INTEGER_FORMAT, what,
		    json_integer_value(slot));
	else
		ctl_complain("%s %s: %s", what, strcmp(a->error, "Refused") == 0 ? "refused" :
		    "failed", reason != NULL ? reason : a->error);
	if (words != NULL && words[0] != '\0') {
		ctl_complain("the worker's last words:");
		ctl_show(STDERR_FILENO, "  ", words);
	}
	return CTL_FAILED;
}

enum ctl_exit
command_call(const struct ctl_request *rq, const struct client_call *call, const char *what,
    struct client_answer *ret)
{
	enum ctl_exit result;
	struct err e;
	int r = client_call(rq->client, call, rq->deadline_ms, ret, &e);

	if (r < 0)
		return exit_of(r, &e);
	result = check_answer(rq, ret, what);
	if (result != CTL_DONE)
		client_answer_done(ret);
	return result;
}

/* A master that hangs is noticed even by a command that waits as long as it takes. */
static enum ctl_exit
ping(const struct ctl_request *rq)
{
	const struct client_call call = { .method = "Ping" };
	uint64_t deadline_ms = MIN_OF(rq->deadline_ms, io_deadline(PING_MS));
	struct client_answer a;
	struct err e;
	int r = client_call(rq->client, &call, deadline_ms, &a, &e);

	if (r < 0)
		return exit_of(r, &e);
	client_answer_done(&a);
	return CTL_DONE;
}

/* A call without a result worth more than one line. */
static enum ctl_exit
simple_call(const struct ctl_request *rq, const struct client_call *call, const char *what,
    const char *done)
{
	struct client_answer a;
	enum ctl_exit result = command_call(rq, call, what, &a);

	if (result != CTL_DONE)
		return result;
	if (rq->options->as_json)
		command_show_json(a.parameters == NULL ? json_null() : a.parameters);
	else
		printf("%s\n", done);
	client_answer_done(&a);
	return CTL_DONE;
}

unsigned
command_terminal_width(void)
{
	struct winsize ws;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) < 0 || ws.ws_col < 80)
		return 80;
	return ws.ws_col;
}

static enum ctl_exit
run_status(const struct ctl_request *rq)
{
	const struct client_call call = { .method = "Status" };
	AUTO_BUF struct buf out = BUF_INIT(OUTPUT_MAX);
	struct client_answer a;
	enum ctl_exit result = command_call(rq, &call, "status", &a);
	const json_t *status;

	if (result != CTL_DONE)
		return result;
	status = json_object_get(a.parameters, "status");
	if (rq->options->as_json && status != NULL) {
		command_show_json(status);
	} else if (status_print_table(status, command_terminal_width(), &out) < 0) {
		ctl_complain("the status is not understood");
		result = CTL_FAILED;
	} else {
		(void)fwrite(out.data, 1, out.len, stdout);
	}
	client_answer_done(&a);
	return result;
}

static enum ctl_exit
run_metrics(const struct ctl_request *rq)
{
	const struct client_call call = { .method = "Status" };
	AUTO_BUF struct buf out = BUF_INIT(OUTPUT_MAX);
	struct client_answer a;
	enum ctl_exit result = command_call(rq, &call, "metrics", &a);

	if (result != CTL_DONE)
		return result;
	if (status_print_metrics(json_object_get(a.parameters, "status"), METRICS_OPENMETRICS,
	    &out) < 0) {
		ctl_complain("the status is not understood");
		result = CTL_FAILED;
	} else {
		(void)fwrite(out.data, 1, out.len, stdout);
	}
	client_answer_done(&a);
	return result;
}

static void
on_progress(const char *text)
{
	ctl_show(STDERR_FILENO, "", text);
}

static enum ctl_exit
run_reload(const struct ctl_request *rq)
{
	const struct client_call order = { .method = "Reload", .is_oneway = true };
	const struct client_call call = { .method = "Reload", .on_progress = on_progress };
	enum ctl_exit result;
	struct client_answer a;
	struct err e;

	if (rq->options->no_wait) {
		int r = client_call(rq->client, &order, rq->deadline_ms, &a, &e);

		/* Calls are taken in turn: when the ping is answered, the order was heard. */
		result = r < 0 ? exit_of(r, &e) : ping(rq);
		if (result == CTL_DONE && !rq->options->as_json)
			printf("reload asked for\n");
		return result;
	}
	result = ping(rq);
	if (result == CTL_DONE)
		result = command_call(rq, &call, "reload", &a);
	if (result != CTL_DONE)
		return result;
	if (rq->options->as_json)
		command_show_json(a.parameters == NULL ? json_null() : a.parameters);
	else
		printf("reloaded, generation %" JSON_INTEGER_FORMAT "\n",
		    json_integer_value(json_object_get(a.parameters, "generation")));
	client_answer_done(&a);
	return CTL_DONE;
}

static bool
is_number(const char *arg)
{
	uint64_t n;

	return value_parse_count(arg, &n, NULL) == 0 && n >= 1 && n <= INT32_MAX;
}

static bool
is_slot_or_all(const char *arg)
{
	return strcmp(arg, "all") == 0 || is_number(arg);
}

/* The argument, which was checked before. */
static json_int_t
number_of(const char *arg)
{
	uint64_t n = 0;

	(void)value_parse_count(arg, &n, NULL);
	return (json_int_t)n;
}

static enum ctl_exit
run_recycle(const struct ctl_request *rq)
{
	bool waits = !rq->options->no_wait;
	bool is_all = rq->arg == NULL || strcmp(rq->arg, "all") == 0;
	struct client_call call = { .method = "Recycle" };
	enum ctl_exit result = waits ? ping(rq) : CTL_DONE;

	if (result != CTL_DONE)
		return result;
	call.parameters = is_all ? json_pack("{s:b}", "wait", waits) :
	    json_pack("{s:b, s:I}", "wait", waits, "slot", number_of(rq->arg));
	if (call.parameters == NULL) {
		ctl_complain("out of memory");
		return CTL_FAILED;
	}
	result = simple_call(rq, &call, "recycle", waits ? "recycled" : "recycle asked for");
	json_decref(call.parameters);
	return result;
}

static enum ctl_exit
run_scale(const struct ctl_request *rq)
{
	struct client_call call = { .method = "Scale" };
	char done[64];
	enum ctl_exit result;

	call.parameters = json_pack("{s:I}", "workers", number_of(rq->arg));
	if (call.parameters == NULL) {
		ctl_complain("out of memory");
		return CTL_FAILED;
	}
	snprintf(done, sizeof(done), "%" JSON_INTEGER_FORMAT " workers until the next reload",
	    number_of(rq->arg));
	result = simple_call(rq, &call, "scale", done);
	json_decref(call.parameters);
	return result;
}

/* Until nobody, or somebody else, listens where the master did. */
static enum ctl_exit
wait_for_end(const struct ctl_request *rq)
{
	pid_t master = rq->client->peer;
	struct err e;

	for (;;) {
		int r = client_wait_closed(rq->client, rq->deadline_ms);

		if (r == 0) {
			client_close(rq->client);
			r = client_connect(rq->client, rq->path, rq->deadline_ms, &e);
			if (r == -ENOENT || r == -ECONNREFUSED ||
			    (r == 0 && rq->client->peer != master))
				return CTL_DONE;
		} else {
			(void)err_set(&e, -r, "it has not ended: %s", strerror(-r));
		}
		if (r < 0)
			return exit_of(r, &e);
	}
}

static enum ctl_exit
run_stop(const struct ctl_request *rq)
{
	struct client_call call = { .method = "Stop" };
	enum ctl_exit result = ping(rq);
	struct client_answer a;

	if (result != CTL_DONE)
		return result;
	call.parameters = json_pack("{s:b}", "quick", rq->options->quick);
	if (call.parameters == NULL) {
		ctl_complain("out of memory");
		return CTL_FAILED;
	}
	result = command_call(rq, &call, "stop", &a);
	json_decref(call.parameters);
	if (result != CTL_DONE)
		return result;
	client_answer_done(&a);
	if (!rq->options->no_wait)
		result = wait_for_end(rq);
	if (result == CTL_DONE && !rq->options->as_json)
		printf("%s\n", rq->options->no_wait ? "stop asked for" : "stopped");
	return result;
}

static enum ctl_exit
run_report(const struct ctl_request *rq)
{
	struct client_call call = { .method = "Report" };
	enum ctl_exit result = rq->options->memory ? ping(rq) : CTL_DONE;
	unsigned seconds = rq->options->seconds;
	struct client_answer a;

	if (result != CTL_DONE)
		return result;
	call.parameters = json_pack("{s:I, s:s*, s:o*}", "slot", number_of(rq->arg),
	    "what", rq->options->memory ? "memory" : NULL,
	    "seconds", seconds == 0 ? NULL : json_integer(seconds));
	if (call.parameters == NULL) {
		ctl_complain("out of memory");
		return CTL_FAILED;
	}
	result = command_call(rq, &call, "report", &a);
	json_decref(call.parameters);
	if (result != CTL_DONE)
		return result;
	if (rq->options->as_json)
		command_show_json(a.parameters == NULL ? json_null() : a.parameters);
	else
		ctl_show(STDOUT_FILENO, "", text_of(&a, "text") == NULL ? "" : text_of(&a, "text"));
	client_answer_done(&a);
	return CTL_DONE;
}

const struct ctl_command commands[] = {
	{ "status", NULL, false, false, NULL, run_status,
	    "show the master and its workers" },
	{ "reload", NULL, false, true, NULL, run_reload,
	    "load settings and code anew; fails when they are no good" },
	{ "recycle", "SLOT|all", true, true, is_slot_or_all, run_recycle,
	    "replace one worker, or all one after another" },
	{ "stop", NULL, false, true, NULL, run_stop,
	    "end gracefully, or at once with --quick" },
	{ "scale", "N", false, false, is_number, run_scale,
	    "set the number of workers until the next reload" },
	{ "report", "SLOT", false, false, is_number, run_report,
	    "show what its threads are doing; --memory: what it keeps" },
	{ "memory", NULL, false, false, NULL, memory_run,
	    "say how the memory of the workers grows, and why" },
	{ "metrics", NULL, false, false, NULL, run_metrics,
	    "print OpenMetrics" },
};
const size_t commands_n = ARRAY_LEN(commands);

const struct ctl_command *
command_find(const char *name)
{
	for (size_t i = 0; i < commands_n; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}
