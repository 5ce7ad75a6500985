/*
 * ids.c - names of users and groups to numbers.
 *
 * Asks the system's user database, which may read files or wait for a network
 * service. A number is taken as it is; a user number without an entry needs a
 * group, since there is none to be looked up, and has no supplementary groups.
 */
#include "system/spawn.h"

#include <grp.h>
#include <pwd.h>
#include <string.h>

#define ENTRY_MAX  (1024 * 1024)	/* bytes of one database entry */
#define GROUPS_MAX 65536		/* NGROUPS_MAX of Linux */

/* True for digits only, the number in *ret; too large ones count as UINT64_MAX. */
static bool
parse_id(const char *text, uint64_t *ret)
{
	uint64_t v = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		v = v > UINT32_MAX ? v : v * 10 + (uint64_t)(*text - '0');
	}
	*ret = v;
	return true;
}

/* -1 means "leave unchanged" to the kernel. */
static bool
is_usable_id(uint64_t id)
{
	return id < UINT32_MAX;
}

/* 1 found, 0 no entry, or negative errno. *buf owns what *ret points to. */
static int
find_user(const char *name, bool is_number, uid_t uid, struct passwd *ret, char **buf)
{
	for (size_t size = 1024; size <= ENTRY_MAX; size *= 4) {
		AUTO_FREE char *room = malloc(size);
		struct passwd *found = NULL;
		int r;

		if (!room)
			return -ENOMEM;
		do {
			r = is_number ? getpwuid_r(uid, ret, room, size, &found)
			    : getpwnam_r(name, ret, room, size, &found);
		} while (r == EINTR);
		if (r == ERANGE)
			continue;
		/* some databases report a missing entry as one of these */
		if (!found)
			return r == 0 || r == ENOENT || r == ESRCH ? 0 : -r;
		*buf = TAKE_PTR(room);
		return 1;
	}
	return -ERANGE;
}

static int
find_group(const char *name, gid_t *ret, struct err *e)
{
	uint64_t id;

	if (parse_id(name, &id)) {
		if (!is_usable_id(id))
			return err_set(e, EINVAL, "'%s' is no group number", name);
		*ret = (gid_t)id;
		return 0;
	}
	for (size_t size = 1024; size <= ENTRY_MAX; size *= 4) {
		AUTO_FREE char *room = malloc(size);
		struct group entry, *found = NULL;
		int r;

		if (!room)
			return err_sys(e, ENOMEM, "cannot look up group '%s'", name);
		do {
			r = getgrnam_r(name, &entry, room, size, &found);
		} while (r == EINTR);
		if (r == ERANGE)
			continue;
		if (found) {
			*ret = entry.gr_gid;
			return 0;
		}
		if (r == 0 || r == ENOENT || r == ESRCH)
			return err_set(e, ENOENT, "group '%s' does not exist", name);
		return err_sys(e, r, "cannot look up group '%s'", name);
	}
	return err_sys(e, ERANGE, "cannot look up group '%s'", name);
}

static int
own_groups(gid_t **ret, size_t *ret_n)
{
	AUTO_FREE gid_t *list = NULL;
	int n = getgroups(0, NULL);

	if (n < 0)
		return -errno;
	list = calloc((size_t)n + 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	n = getgroups(n, list);
	if (n < 0)
		return -errno;
	*ret = TAKE_PTR(list);
	*ret_n = (size_t)n;
	return 0;
}

/* name NULL: a user without an entry, with its group alone. */
static int
groups_of(const char *name, gid_t gid, gid_t **ret, size_t *ret_n)
{
	for (int room = 64; room <= GROUPS_MAX; room *= 4) {
		AUTO_FREE gid_t *list = calloc((size_t)room, sizeof(*list));
		int n = room;

		if (!list)
			return -ENOMEM;
		if (!name) {
			list[0] = gid;
			n = 1;
		} else if (getgrouplist(name, gid, list, &n) < 0) {
			continue;
		}
		*ret = TAKE_PTR(list);
		*ret_n = (size_t)n;
		return 0;
	}
	return -ERANGE;
}

int
spawn_lookup_ids(const char *user, const char *group, uid_t *ret_uid, gid_t *ret_gid,
    gid_t **ret_groups, size_t *ret_n, struct err *e)
{
	AUTO_FREE char *entry = NULL;
	struct passwd pw = {0};
	uint64_t number = 0;
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int r, found = 0;

	if (user) {
		bool is_number = parse_id(user, &number);

		if (is_number && !is_usable_id(number))
			return err_set(e, EINVAL, "'%s' is no user number", user);
		found = find_user(user, is_number, (uid_t)number, &pw, &entry);
		if (found < 0)
			return err_sys(e, -found, "cannot look up user '%s'", user);
		if (!found && !is_number)
			return err_set(e, ENOENT, "user '%s' does not exist", user);
		if (!found && !group)
			return err_set(e, ENOENT,
			    "user %s has no entry in the user database; set group = too", user);
		uid = found ? pw.pw_uid : (uid_t)number;
		gid = found ? pw.pw_gid : gid;
	}
	if (group) {
		r = find_group(group, &gid, e);
		if (r < 0)
			return r;
	}
	if (user)
		r = groups_of(found ? pw.pw_name : NULL, gid, ret_groups, ret_n);
	else
		r = own_groups(ret_groups, ret_n);
	if (r < 0)
		return err_sys(e, -r, "cannot look up the supplementary groups");
	*ret_uid = uid;
	*ret_gid = gid;
	return 0;
}
