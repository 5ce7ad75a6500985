/*
 * ctl.c - preforkctl: asks a running preforkd for something.
 *
 * Reads the command line, finds the master, runs one command and says by its exit code
 * how that went (ctl.h). See preforkctl(1).
 *
 * SPDX-License-Identifier: MIT
 */
#include "ctl/ctl.h"

#include "base/io.h"
#include "ctl/commands.h"
#include "ctl/find.h"
#include "model/text.h"
#include "model/values.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#define TIMEOUT_MS UINT64_C(10000)	/* for commands that are answered at once */
#define SECONDS_MAX 600
#define TEXT_SHOWN (8u << 20)

void
ctl_complain(const char *fmt, ...)
{
	AUTO_BUF struct buf raw = BUF_INIT(TEXT_SHOWN);
	AUTO_BUF struct buf safe = BUF_INIT(TEXT_SHOWN);
	va_list ap;

	va_start(ap, fmt);
	(void)buf_vprintf(&raw, fmt, ap);
	va_end(ap);
	(void)text_put_safe(&safe, raw.data, TEXT_LINES);
	fprintf(stderr, "preforkctl: %s\n", safe.data == NULL ? "?" : safe.data);
}

void
ctl_show(int fd, const char *indent, const char *text)
{
	FILE *to = fd == STDOUT_FILENO ? stdout : stderr;
	AUTO_BUF struct buf safe = BUF_INIT(TEXT_SHOWN);
	const char *line;

	(void)text_put_safe(&safe, text, TEXT_LINES);
	line = safe.data == NULL ? "" : safe.data;
	do {
		size_t len = strcspn(line, "\n");

		fprintf(to, "%s%.*s\n", indent, (int)len, line);
		line += len;
		if (*line == '\n')
			line++;
	} while (*line != '\0');
	(void)fflush(to);
}

static void
print_usage(FILE *to)
{
	fprintf(to, "usage: preforkctl [--file FILE.ini | --socket PATH] [--json] [--no-wait]\n"
	    "                  [--timeout SECONDS] COMMAND\n"
	    "       preforkctl memory [--record FILE.csv]\n"
	    "       preforkctl memory --series FILE.csv [--json] [--reload-on-rss SIZE]\n\n");
	for (size_t i = 0; i < commands_n; i++) {
		const struct ctl_command *c = &commands[i];
		char left[40];

		snprintf(left, sizeof(left), c->arg == NULL ? "%s" :
		    c->arg_optional ? "%s [%s]" : "%s %s", c->name, c->arg);
		fprintf(to, "  %-20s %s\n", left, c->help);
	}
	fprintf(to, "  %-20s %s\n\n"
	    "Without --file and --socket: the only instance that is running.\n"
	    "Exit code: 0 done, 1 refused or failed, 2 usage, 3 not reachable, 4 timed out.\n",
	    "help", "show this");
}

static enum ctl_exit
complain_usage(const char *problem, const char *what)
{
	struct buf text = BUF_INIT(4096);

	(void)buf_puts(&text, problem);
	if (what != NULL)
		(void)buf_printf(&text, " '%s'", what);
	ctl_complain("%s; see preforkctl help", text.data == NULL ? "?" : text.data);
	buf_free(&text);
	return CTL_USAGE;
}

/* -1: go on; else the exit code. */
static int
parse_options(int argc, char **argv, struct ctl_options *o)
{
	static const struct option longs[] = {
		{ "file", required_argument, NULL, 'f' },
		{ "socket", required_argument, NULL, 's' },
		{ "json", no_argument, NULL, 'j' },
		{ "no-wait", no_argument, NULL, 'n' },
		{ "quick", no_argument, NULL, 'q' },
		{ "memory", no_argument, NULL, 'm' },
		{ "seconds", required_argument, NULL, 'd' },
		{ "timeout", required_argument, NULL, 't' },
		{ "series", required_argument, NULL, 'S' },
		{ "record", required_argument, NULL, 'R' },
		{ "reload-on-rss", required_argument, NULL, 'L' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	uint64_t seconds;
	struct err e;
	int opt;

	while ((opt = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (opt) {
		case 'f':
			o->file = optarg;
			break;
		case 's':
			o->socket = optarg;
			break;
		case 'j':
			o->as_json = true;
			break;
		case 'n':
			o->no_wait = true;
			break;
		case 'q':
			o->quick = true;
			break;
		case 'm':
			o->memory = true;
			break;
		case 'd':
			if (value_parse_count(optarg, &seconds, &e) < 0 || seconds < 1 ||
			    seconds > SECONDS_MAX) {
				ctl_complain("--seconds: a number from 1 to %d", SECONDS_MAX);
				return CTL_USAGE;
			}
			o->seconds = (unsigned)seconds;
			break;
		case 't':
			if (value_parse_time(optarg, &o->timeout_ms, &e) < 0) {
				ctl_complain("--timeout: %s", e.text);
				return CTL_USAGE;
			}
			o->has_timeout = true;
			break;
		case 'S':
			o->series = optarg;
			break;
		case 'R':
			o->record = optarg;
			break;
		case 'L':
			if (value_parse_size(optarg, &o->reload_on_rss, &e) < 0) {
				ctl_complain("--reload-on-rss: %s", e.text);
				return CTL_USAGE;
			}
			break;
		case 'h':
			print_usage(stdout);
			return CTL_DONE;
		case 'V':
			printf("preforkctl %s\n", PACKAGE_VERSION);
			return CTL_DONE;
		default:	/* getopt_long has said what is wrong */
			return CTL_USAGE;
		}
	}
	if (o->file != NULL && o->socket != NULL)
		return (int)complain_usage("--file and --socket exclude each other", NULL);
	return -1;
}

/* What is wrong with the options of memory, NULL: nothing. */
static const char *
check_memory(const struct ctl_options *o, const struct ctl_command *command)
{
	if (strcmp(command->name, "memory") != 0 &&
	    (o->series != NULL || o->record != NULL || o->reload_on_rss != 0))
		return "--series, --record and --reload-on-rss belong to memory";
	if (o->series != NULL && o->record != NULL)
		return "--series and --record exclude each other";
	if (o->series != NULL && (o->file != NULL || o->socket != NULL))
		return "--series needs no instance: without --file and --socket";
	if (o->series == NULL && o->reload_on_rss != 0)
		return "--reload-on-rss belongs to --series; an instance has its own";
	return NULL;
}

static enum ctl_exit
run(int argc, char **argv)
{
	struct ctl_options options = { 0 };
	struct client client = { .fd = -1 };
	AUTO_FREE char *path = NULL;
	const struct ctl_command *command;
	struct ctl_request rq = { .options = &options, .client = &client };
	uint64_t find_deadline_ms;
	const char *problem;
	int early = parse_options(argc, argv, &options);
	int n_args = argc - optind - 1;
	enum ctl_exit result;

	if (early >= 0)
		return (enum ctl_exit)early;
	if (n_args < 0) {
		print_usage(stderr);
		return CTL_USAGE;
	}
	if (strcmp(argv[optind], "help") == 0) {
		print_usage(stdout);
		return CTL_DONE;
	}
	command = command_find(argv[optind]);
	if (command == NULL)
		return complain_usage("unknown command", argv[optind]);
	if (n_args > (command->arg == NULL ? 0 : 1))
		return complain_usage("too many arguments for", command->name);
	if (n_args == 0 && command->arg != NULL && !command->arg_optional)
		return complain_usage("an argument is missing after", command->name);
	rq.arg = n_args == 1 ? argv[optind + 1] : NULL;
	if (rq.arg != NULL && command->check_arg != NULL && !command->check_arg(rq.arg))
		return complain_usage("bad argument", rq.arg);
	if (options.quick && strcmp(command->name, "stop") != 0)
		return complain_usage("--quick belongs to stop, not to", command->name);
	if ((options.memory || options.seconds != 0) && strcmp(command->name, "report") != 0)
		return complain_usage("--memory and --seconds belong to report, not to",
		    command->name);
	if (options.seconds != 0 && !options.memory)
		return complain_usage("--seconds belongs to report --memory", NULL);
	problem = check_memory(&options, command);
	if (problem != NULL)
		return complain_usage(problem, NULL);
	if (options.series != NULL)
		return command->run(&rq);

	find_deadline_ms = io_deadline(options.has_timeout ? options.timeout_ms : TIMEOUT_MS);
	rq.deadline_ms = options.has_timeout ? find_deadline_ms :
	    io_deadline((command->waits || options.memory) && !options.no_wait ? 0 : TIMEOUT_MS);
	result = find_master(&options, find_deadline_ms, &client, &path);
	if (result != CTL_DONE)
		return result;
	rq.path = path;
	result = command->run(&rq);
	client_close(&client);
	return result;
}

int
main(int argc, char **argv)
{
	enum ctl_exit result = run(argc, argv);

	if (fflush(stdout) != 0 || ferror(stdout)) {
		ctl_complain("cannot write the result: %m");
		return CTL_FAILED;
	}
	return (int)result;
}
