/*
 * loss_plan.c - the command line of the loss client; any mistake ends it with exit status 2.
 */
#include "loss_plan.h"

#include "base/base.h"
#include "base/err.h"
#include "model/values.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SHARE_ALL 10000

const char *const kind_names[KINDS] = {
	[KIND_KEEP_ALIVE] = "keep_alive",
	[KIND_CLOSE] = "close",
	[KIND_SLOW] = "slow",
};

NO_RETURN static void
usage(const char *why)
{
	fprintf(stderr, "loss: %s\n"
	    "Usage: loss [options] ADDRESS:PORT | unix:PATH\n"
	    "conversations:  --keep-alive N (16) --close N (8) --slow N (4)\n"
	    "between requests: --gap T:T (0:20ms) --long-gap T:T (1200ms:2s) --long-share P%% (0)\n"
	    "requests:       --size N:N (10:4000) --slow-size N:N (20000:150000)\n"
	    "                --work T:T (10ms:60ms) --work-share P%% (0)   of the application\n"
	    "slow ones:      --pause T:T (1ms:8ms)   between pieces\n"
	    "limits:         --drain-idle T (1s) --timeout T (10s) --seconds T (5s)\n"
	    "                --late T (1s)   tell of answers that took so long\n"
	    "                --seed N --json\n", why);
	exit(2);
}

static uint64_t
parse_number(const char *text, uint64_t min, uint64_t max)
{
	struct err e = { 0 };
	uint64_t n;

	if (value_parse_count(text, &n, &e) < 0 || n < min || n > max)
		usage("a number is missing or out of range");
	return n;
}

static uint64_t
parse_time(const char *text)
{
	struct err e = { 0 };
	uint64_t ms;

	if (value_parse_time(text, &ms, &e) < 0 || ms > 24 * 3600 * (uint64_t)MSEC_PER_SEC)
		usage("a time is no time, or longer than a day");
	return ms * USEC_PER_MSEC;
}

static uint64_t
parse_bytes(const char *text)
{
	return parse_number(text, 0, BODY_MAX);
}

/* LOW:HIGH, or one value for both. */
static struct range
parse_range(const char *text, uint64_t (*parse)(const char *))
{
	const char *colon = strchr(text, ':');
	struct range r;
	char low[64];

	if (!colon)
		return (struct range){ parse(text), parse(text) };
	if ((size_t)(colon - text) >= sizeof(low))
		usage("a range is too long");
	snprintf(low, sizeof(low), "%.*s", (int)(colon - text), text);
	r = (struct range){ parse(low), parse(colon + 1) };
	if (r.low > r.high)
		usage("a range has its ends the wrong way round");
	return r;
}

/* 5%, 0.25%, with or without the sign. */
static uint64_t
parse_share(const char *text)
{
	char *end;
	double percent = strtod(text, &end);

	if (end == text || (*end != '\0' && strcmp(end, "%") != 0) || percent < 0 || percent > 100)
		usage("a share is 0% to 100%");
	return (uint64_t)(percent / 100 * SHARE_ALL + 0.5);
}

static void
parse_target(struct plan *plan, const char *text)
{
	char host[64];
	const char *colon = strrchr(text, ':');

	plan->to_text = text;
	if (strncmp(text, "unix:", 5) == 0) {
		size_t len = strlen(text + 5);

		if (len == 0 || len >= sizeof(plan->to.un.sun_path))
			usage("the path of the socket is empty or too long");
		plan->to.un.sun_family = AF_UNIX;
		memcpy(plan->to.un.sun_path, text + 5, len + 1);
		plan->to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
		if (text[5] == '@')
			plan->to.un.sun_path[0] = '\0';
		else
			plan->to_len++;
		plan->to_text = "localhost";
		return;
	}
	if (!colon || (size_t)(colon - text) >= sizeof(host))
		usage("the target is neither ADDRESS:PORT nor unix:PATH");
	snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
	plan->to.in.sin_family = AF_INET;
	plan->to.in.sin_port = htons((uint16_t)parse_number(colon + 1, 1, 65535));
	if (inet_pton(AF_INET, host, &plan->to.in.sin_addr) != 1)
		usage("the target is no IPv4 address");
	plan->to_len = sizeof(plan->to.in);
}

static const struct option longs[] = {
	{ "keep-alive", required_argument, NULL, 'k' },
	{ "close", required_argument, NULL, 'c' },
	{ "slow", required_argument, NULL, 's' },
	{ "gap", required_argument, NULL, 'g' },
	{ "long-gap", required_argument, NULL, 'G' },
	{ "long-share", required_argument, NULL, 'L' },
	{ "work", required_argument, NULL, 'w' },
	{ "work-share", required_argument, NULL, 'W' },
	{ "pause", required_argument, NULL, 'p' },
	{ "size", required_argument, NULL, 'b' },
	{ "slow-size", required_argument, NULL, 'B' },
	{ "drain-idle", required_argument, NULL, 'd' },
	{ "timeout", required_argument, NULL, 't' },
	{ "late", required_argument, NULL, 'l' },
	{ "seconds", required_argument, NULL, 'r' },
	{ "seed", required_argument, NULL, 'S' },
	{ "json", no_argument, NULL, 'j' },
	{ NULL, 0, NULL, 0 }
};

static void
parse_option(struct plan *plan, int opt, const char *arg)
{
	uint64_t *n = plan->conversations;

	switch (opt) {
	case 'k': n[KIND_KEEP_ALIVE] = parse_number(arg, 0, CONVERSATIONS_MAX); break;
	case 'c': n[KIND_CLOSE] = parse_number(arg, 0, CONVERSATIONS_MAX); break;
	case 's': n[KIND_SLOW] = parse_number(arg, 0, CONVERSATIONS_MAX); break;
	case 'g': plan->gap = parse_range(arg, parse_time); break;
	case 'G': plan->long_gap = parse_range(arg, parse_time); break;
	case 'L': plan->long_share = parse_share(arg); break;
	case 'w': plan->work = parse_range(arg, parse_time); break;
	case 'W': plan->work_share = parse_share(arg); break;
	case 'p': plan->pause = parse_range(arg, parse_time); break;
	case 'b': plan->size = parse_range(arg, parse_bytes); break;
	case 'B': plan->slow_size = parse_range(arg, parse_bytes); break;
	case 'd': plan->drain_idle = parse_time(arg); break;
	case 't': plan->timeout = parse_time(arg); break;
	case 'l': plan->late = parse_time(arg); break;
	case 'r': plan->run = parse_time(arg); break;
	case 'S': plan->seed = parse_number(arg, 0, UINT32_MAX); break;
	case 'j': plan->json = true; break;
	default: usage("see below");
	}
}

void
plan_parse(struct plan *plan, int argc, char **argv)
{
	uint64_t all;
	int opt;

	*plan = (struct plan){
		.conversations = { [KIND_KEEP_ALIVE] = 16, [KIND_CLOSE] = 8, [KIND_SLOW] = 4 },
		.gap = { 0, 20 * USEC_PER_MSEC },
		.long_gap = { 1200 * USEC_PER_MSEC, 2 * USEC_PER_SEC },
		.work = { 10 * USEC_PER_MSEC, 60 * USEC_PER_MSEC },
		.pause = { 1 * USEC_PER_MSEC, 8 * USEC_PER_MSEC },
		.size = { 10, 4000 },
		.slow_size = { 20000, 150000 },
		.drain_idle = USEC_PER_SEC,
		.timeout = 10 * USEC_PER_SEC,
		.late = USEC_PER_SEC,
		.run = 5 * USEC_PER_SEC,
		.seed = (uint64_t)(uint32_t)time(NULL) ^ (uint64_t)getpid() << 8,
	};
	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1)
		parse_option(plan, opt, optarg);
	all = plan->conversations[KIND_KEEP_ALIVE] + plan->conversations[KIND_CLOSE] +
	    plan->conversations[KIND_SLOW];
	if (optind + 1 != argc || plan->run == 0 || plan->timeout == 0)
		usage("one target, and times above 0");
	if (all == 0 || all > CONVERSATIONS_MAX)
		usage("no conversation, or too many");
	if (plan->gap.high >= plan->drain_idle ||
	    (plan->long_share > 0 && plan->long_gap.low <= plan->drain_idle))
		usage("gaps must be below drain-idle, and long gaps above it");
	parse_target(plan, argv[optind]);
}
