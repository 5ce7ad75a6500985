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

/* NULL: no such command. */
const struct ctl_command *command_find(const char *name);
extern const struct ctl_command commands[];
extern const size_t commands_n;

#endif
