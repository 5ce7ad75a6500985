/*
 * loss_tally.c - notes about losses, and the summary; nothing here can fail.
 */
#include "loss_tally.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define NOTES_MAX 50

void
tally_note(enum note note, const char *format, ...)
{
	static unsigned int noted[NOTES];
	struct timespec ts;
	struct tm tm;
	char day[16];
	va_list ap;

	if (noted[note]++ >= NOTES_MAX)
		return;
	clock_gettime(CLOCK_REALTIME, &ts);
	localtime_r(&ts.tv_sec, &tm);
	strftime(day, sizeof(day), "%H:%M:%S", &tm);
	fprintf(stderr, "%s.%03d ", day, (int)(ts.tv_nsec / 1000000));
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputs(noted[note] == NOTES_MAX ? "; more of these are only counted\n" : "\n", stderr);
}

static void
tally_add(struct tally *into, const struct tally *from)
{
	stats_merge(&into->stats, &from->stats);
	into->requests += from->requests;
	into->idle_closed += from->idle_closed;
	into->closed_early += from->closed_early;
}

static void
print_one(const char *name, const struct tally *t, double seconds, bool json)
{
	if (json)
		printf("\"%s\": {\"requests\": %" PRIu64 ", ", name, t->requests);
	else
		printf("%s: %" PRIu64 " requests begun, ", name, t->requests);
	stats_print(&t->stats, seconds, json);
	printf(json ? ", \"idle_closed\": %" PRIu64 ", \"closed_early\": %" PRIu64 "}" :
	    "; idle_closed %" PRIu64 ", closed_early %" PRIu64 "\n", t->idle_closed,
	    t->closed_early);
}

void
tally_print(const struct tally tallies[KINDS], const struct plan *plan, double seconds)
{
	/* Static: the buckets are large. Slow clients have a latency of their own making. */
	static struct tally total;

	tally_add(&total, &tallies[KIND_KEEP_ALIVE]);
	tally_add(&total, &tallies[KIND_CLOSE]);
	if (plan->json)
		printf("{\"seconds\": %.3f, \"seed\": %" PRIu64 ", ", seconds, plan->seed);
	else
		printf("%.1f seconds, seed %" PRIu64 "\n", seconds, plan->seed);
	print_one("quick", &total, seconds, plan->json);
	for (int kind = 0; kind < KINDS; kind++) {
		if (plan->conversations[kind] == 0)
			continue;
		fputs(plan->json ? ", " : "", stdout);
		print_one(kind_names[kind], &tallies[kind], seconds, plan->json);
	}
	tally_add(&total, &tallies[KIND_SLOW]);
	fputs(plan->json ? ", " : "", stdout);
	print_one("total", &total, seconds, plan->json);
	puts(plan->json ? "}" : "");
}
