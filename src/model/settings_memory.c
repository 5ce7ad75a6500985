/*
 * settings_memory.c - contradictions between limits on memory.
 *
 * A size and a share cannot be compared before both are known in bytes; the master finds these
 * out when it runs.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/settings_check.h"

#include "base/buf.h"
#include "model/setting.h"

static const char killed_first[] = "workers would be killed before they are replaced";
static const char replaced_first[] = "workers would be replaced before they give memory back";
static const char no_room[] = "workers would be replaced for the pool's limit before";

/* In each group of the same reasons the limits rise from left to right. */
static const struct { const char *low, *high, *why; } order[] = {
	{ "trim-on-rss", "reload-on-rss", replaced_first },
	{ "trim-on-rss", "evil-reload-on-rss", killed_first },
	{ "reload-on-rss", "evil-reload-on-rss", killed_first },
	{ "reload-on-uss", "evil-reload-on-uss", killed_first },
	{ "reload-on-pss", "evil-reload-on-rss", killed_first },
	/* what is a worker's own is part of its RSS */
	{ "reload-on-uss", "evil-reload-on-rss", killed_first },
	{ "memory-high", "memory-limit", "there would be nothing between them" },
	{ "reload-on-uss", "memory-limit", no_room },
};

static const struct limit *
limit_of(const struct settings *s, const struct option *o)
{
	return (const struct limit *)(const void *)((const char *)s + o->offset);
}

static bool
is_bad(const struct settings_load *l, const struct option *o)
{
	return l->places[o - options].is_bad;
}

static void
complain_order(struct settings_load *l, const struct option *low, const struct option *high,
    const char *why)
{
	struct buf a AUTO_BUF = BUF_INIT(40), b AUTO_BUF = BUF_INIT(40);

	setting_print(l->s, low, &a);
	setting_print(l->s, high, &b);
	settings_complain(l, low, "%s must be below '%s' (%s), else %s", a.data ? a.data : "it",
	    high->key, b.data ? b.data : "set", why);
}

static void
check_pair(struct settings_load *l, const char *low_key, const char *high_key, const char *why)
{
	const struct option *low = option_find(low_key), *high = option_find(high_key);
	const struct limit *a, *b;

	if (!low || !high || is_bad(l, low) || is_bad(l, high))
		return;
	a = limit_of(l->s, low);
	b = limit_of(l->s, high);
	if (a->kind == b->kind && (a->kind == LIMIT_SIZE || a->kind == LIMIT_FRESH ||
	    (a->kind == LIMIT_PERCENT && (low->flags & OPTF_SHARE))) && a->value >= b->value)
		complain_order(l, low, high, why);
}

/* limit-as is a plain size. */
static void
check_address_space(struct settings_load *l)
{
	const struct option *low = option_find("reload-on-as"), *high = option_find("limit-as");
	const struct settings *s = l->s;

	if (low && high && !is_bad(l, low) && !is_bad(l, high) && s->limit_as_bytes != 0 &&
	    s->reload_on_as.kind == LIMIT_SIZE && s->reload_on_as.value >= s->limit_as_bytes)
		complain_order(l, low, high, "a worker would run out of address space first");
}

void
settings_check_memory(struct settings_load *l)
{
	const struct option *high = option_find("memory-high");

	for (size_t i = 0; i < ARRAY_LEN(order); i++)
		check_pair(l, order[i].low, order[i].high, order[i].why);
	check_address_space(l);
	for (size_t i = 0; i < options_n; i++) {
		const struct option *o = &options[i];

		if (o->type == OPT_LIMIT && (o->flags & OPTF_SHARE) && !is_bad(l, o) &&
		    limit_of(l->s, o)->kind == LIMIT_PERCENT && l->cgroup_limit_bytes == 0)
			settings_complain(l, o, "a percentage is of the cgroup's memory limit, and"
			    " there is none here; write a size such as 300M");
	}
	if (high && !is_bad(l, high) && l->s->memory_high.kind == LIMIT_PERCENT &&
	    l->s->memory_high.value < 10)
		settings_complain(l, high, "less than 10%% of the limit leaves no memory to work"
		    " with");
}
