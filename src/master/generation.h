/*
 * generation.h - one successful load of settings: what its workers are started with.
 *
 * Holds the settings, the looked-up ids, the listening sockets and everything of a
 * worker's command line and environment that does not differ between workers. Counted
 * references: the pool's current generation, and each worker started from it. Listening
 * sockets are shared between generations that name the same address.
 */
#ifndef PREFORKD_GENERATION_H
#define PREFORKD_GENERATION_H

#include "base/base.h"
#include "base/err.h"
#include "model/governor.h"
#include "model/settings.h"
#include "system/listen.h"
#include "system/spawn.h"

/* How a generation's workers come to life. */
enum starts {
	STARTS_BY_EXEC,
	STARTS_BY_FORK,		/* of its mold */
	STARTS_UNDECIDED,	/* its mold will say */
};

struct generation {
	unsigned number;
	unsigned refs;
	struct settings *settings;	/* owned */
	struct gov_policy policy;

	bool has_ids;
	uid_t uid;
	gid_t gid;
	gid_t *groups;			/* owned */
	size_t n_groups;

	struct listener **listeners;	/* owned references */
	size_t n_listeners;
	bool per_slot;			/* a worker accepts from the lane of its slot */

	bool has_agent;			/* wsgi or asgi: the launcher speaks the channel */
	char *python;			/* the interpreter, for wsgi and asgi */
	char **command;			/* words of `command`, NULL otherwise */
	char *launcher;			/* path of the launcher's __main__.py */
	int log_fd;			/* worker-log = FILE, or -1 */
	enum starts starts;
	unsigned mold_failures;		/* molds that ended before they forked, in a row */
	unsigned mold_short_lives;	/* that ended soon after they were ready, in a row */
	char *mold_words;		/* what the last mold said of preload; or NULL */
	bool fds_said;			/* that reload-on-fds cannot work here */
	bool uss_said;			/* the same of reload-on-uss */
	bool shared_said;		/* that reload-on-rss counts what is shared */
};

/* The sockets that systemd passed to this process, kept for all generations. */
struct inherited {
	struct listener **v;
	size_t n;
};

struct generation_plan {
	unsigned number;
	const struct generation *old;		/* shares its sockets; may be NULL */
	struct listener *const *leaving;	/* given up by an earlier one, served still */
	size_t n_leaving;
	const struct inherited *inherited;
	bool private_socket;			/* --check-app: one nameless socket only */
};

/* Takes settings in any case. Opens new sockets; on failure everything that was opened is
 * closed again and the old generation is untouched. */
int generation_new(struct settings *settings, const struct generation_plan *plan,
    struct generation **ret, struct err *e);

struct generation *generation_ref(struct generation *g);
void generation_unref(struct generation *g);	/* NULL is fine */

/* Opens worker-log's FILE again. */
int generation_reopen_log(struct generation *g, struct err *e);

/* True when `l` belongs to g. */
bool generation_has_listener(const struct generation *g, const struct listener *l);

#endif
