/*
 * commands.h - the commands of preforkctl.
 */
#ifndef PREFORKD_COMMANDS_H
#define PREFORKD_COMMANDS_H

#include "ctl/client.h"
#include "ctl/ctl.h"

struct ctl_request {
	const struct ctl_options *options;
	const char *arg;		/* of the command, NULL: none */
	const char *path;		/* of the socket */
	struct client *client;
	uint64_t deadline_ms;
};

struct ctl_command {
	const char *name;
	const char *arg;		/* placeholder, NULL: takes none */
	bool arg_optional;
	bool waits;			/* for work to be done: no deadline unless asked for */
	/* False: arg is wrong. NULL: anything goes. */
	bool (*check_arg)(const char *arg);
	enum ctl_exit (*run)(const struct ctl_request *rq);
	const char *help;
};

/* Makes the call and checks its answer; what: for messages. CTL_DONE: *ret is to be freed. */
enum ctl_exit command_call(const struct ctl_request *rq, const struct client_call *call,
    const char *what, struct client_answer *ret);
void command_show_json(const json_t *value);
unsigned command_terminal_width(void);

/* memory.c. With options->series it needs no connection. */
enum ctl_exit memory_run(const struct ctl_request *rq);

/* NULL: no such command. */
const struct ctl_command *command_find(const char *name);
extern const struct ctl_command commands[];
extern const size_t commands_n;

#endif
