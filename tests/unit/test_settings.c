/*
 * test_settings.c - ini, command line and environment to settings: precedence, what is
 * legal, long lines, back to an ini, and what a reload keeps.
 *
 * Finds the sample configurations below $srcdir (default ".").
 */
#include "base/buf.h"
#include "model/inifile.h"
#include "model/options.h"
#include "model/setting.h"
#include "model/settings.h"
#include "run_case.h"
#include "settings_fixture.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

/* The value of one key as text. */
static char *
value_of(const struct settings *s, const char *key)
{
	struct buf out AUTO_BUF = BUF_INIT(100000);
	const struct option *o = option_find(key);

	ck_assert_msg(o != NULL, "%s", key);
	ck_assert_int_eq(setting_print(s, o, &out), 0);
	return buf_take(&out);
}

static int
origin_of(const struct settings *s, const char *key)
{
	return s->origin[option_find(key) - options];
}

START_TEST(values_arrive)
{
	static const struct { struct given g; const char *key, *want; enum setting_origin from; }
	rows[] = {
		{ { APP, {0}, 0, 0 }, "wsgi", "app:app", ORIGIN_FILE },
		{ { APP, {0}, 0, 0 }, "listen", "127.0.0.1:8000", ORIGIN_DEFAULT },
		{ { APP, {0}, 0, 0 }, "workers", "6", ORIGIN_DEFAULT },
		{ { APP, {0}, 0, 0 }, "chdir", "/srv/shop", ORIGIN_DEFAULT },
		{ { APP, {0}, 0, 0 }, "max-requests-jitter", "10%", ORIGIN_DEFAULT },
		{ { APP, {0}, "3", 0 }, "workers", "3", ORIGIN_ENVIRONMENT },
		{ { APP, {0}, "", 0 }, "workers", "6", ORIGIN_DEFAULT },
		{ { APP "workers = 4\n", {0}, "3", 0 }, "workers", "4", ORIGIN_FILE },
		{ { APP "workers = 4\n", {0}, "rubbish", 0 }, "workers", "4", ORIGIN_FILE },
		{ { APP "workers = auto\n", {0}, "3", 0 }, "workers", "6", ORIGIN_FILE },
		{ { APP "workers = 4\n", { "workers", "5" }, "3", 0 }, "workers", "5",
		  ORIGIN_COMMAND_LINE },
		{ { APP, { "workers", "5", "workers", "7" }, 0, 0 }, "workers", "7",
		  ORIGIN_COMMAND_LINE },
		{ { APP, {0}, 0, "5000" }, "listen", "0.0.0.0:5000", ORIGIN_ENVIRONMENT },
		{ { APP, {0}, 0, "" }, "listen", "127.0.0.1:8000", ORIGIN_DEFAULT },
		{ { APP "listen = :1\n", {0}, 0, "5000" }, "listen", "0.0.0.0:1", ORIGIN_FILE },
		{ { APP "listen = :1, unix:x.sock\nlisten = [::1]:2\n", {0}, 0, 0 }, "listen",
		  "0.0.0.0:1, unix:/srv/shop/x.sock, [::1]:2", ORIGIN_FILE },
		{ { APP "listen = :1\n", { "listen", ":2", "listen", ":3" }, 0, 0 }, "listen",
		  "0.0.0.0:2, 0.0.0.0:3", ORIGIN_COMMAND_LINE },
		{ { NULL, { "asgi", "app:app" }, 0, 0 }, "asgi", "app:app", ORIGIN_COMMAND_LINE },
		{ { APP, { "recycle-dry-run", NULL }, 0, 0 }, "recycle-dry-run", "yes",
		  ORIGIN_COMMAND_LINE },
		{ { APP "virtualenv = ./venv//\n", {0}, 0, 0 }, "virtualenv", "/srv/shop/venv",
		  ORIGIN_FILE },
		{ { APP "virtualenv = /a/./b/../c\n", {0}, 0, 0 }, "virtualenv", "/a/b/../c",
		  ORIGIN_FILE },
		{ { APP "virtualenv = /\n", {0}, 0, 0 }, "virtualenv", "/", ORIGIN_FILE },
		{ { APP "python = pypy3\n", {0}, 0, 0 }, "python", "pypy3", ORIGIN_FILE },
		{ { APP "python = venv/bin/python\n", {0}, 0, 0 }, "python",
		  "/srv/shop/venv/bin/python", ORIGIN_FILE },
		{ { APP "pythonpath = lib, /opt/x:../y\n", {0}, 0, 0 }, "pythonpath",
		  "/srv/shop/lib:/opt/x:/srv/shop/../y", ORIGIN_FILE },
		{ { APP "worker-log = log/w.log\n", {0}, 0, 0 }, "worker-log",
		  "/srv/shop/log/w.log", ORIGIN_FILE },
		{ { APP "worker-log = prefix\n", {0}, 0, 0 }, "worker-log", "prefix", ORIGIN_FILE },
		{ { APP "log-level = WARN\n", {0}, 0, 0 }, "log-level", "warning", ORIGIN_FILE },
		{ { APP "keepalive = 0\n", {0}, 0, 0 }, "keepalive", "0", ORIGIN_FILE },
		{ { APP "max-requests-jitter = 50\n", {0}, 0, 0 }, "max-requests-jitter", "50",
		  ORIGIN_FILE },
		{ { APP "max-worker-lifetime-jitter = 1h\n", {0}, 0, 0 },
		  "max-worker-lifetime-jitter", "60min", ORIGIN_FILE },
		{ { APP "max-worker-lifetime = 3s\n", {0}, 0, 0 }, "min-worker-lifetime", "3s",
		  ORIGIN_DEFAULT },
		{ { "[preforkd]\ncommand = sh -c 'a ; b # c'\n", {0}, 0, 0 }, "command",
		  "sh -c 'a ; b # c'", ORIGIN_FILE },
		{ { "[preforkd]\ncommand = x\nready = 5\n", {0}, 0, 0 },
		  "ready", "5s", ORIGIN_FILE },
		{ { "\xef\xbb\xbf[preforkd]\r\n; c\r\n  # c\r\n\r\nasgi=a:b\r\n", {0}, 0, 0 },
		  "asgi", "a:b", ORIGIN_FILE },
		{ { "[preforkd]\nasgi\t=\ta:b \t", {0}, 0, 0 }, "asgi", "a:b", ORIGIN_FILE },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct settings *s CLEANUP(settings_freep) = load_ok(&rows[i].g);
		char *got AUTO_FREE = value_of(s, rows[i].key);

		ck_assert_msg(strcmp(got, rows[i].want) == 0, "row %zu: %s = %s", i, rows[i].key,
		    got);
		ck_assert_msg(origin_of(s, rows[i].key) == (int)rows[i].from, "row %zu: origin %d",
		    i, origin_of(s, rows[i].key));
	}
}
END_TEST

START_TEST(switch_without_value)
{
	struct settings_override ov = { .key = "recycle-dry-run" };
	struct settings_source src = {
		.file = "/etc/preforkd/shop.ini", .text = APP, .len = strlen(APP),
		.base_dir = "/etc/preforkd", .overrides = &ov, .n_overrides = 1,
		.default_workers = 1,
	};
	struct settings *s CLEANUP(settings_freep) = NULL;
	struct settings *none = NULL;
	struct errs errs = {0};

	ck_assert_int_eq(settings_load(&src, &s, &errs), 0);
	ck_assert(s->recycle_dry_run);
	ck_assert_str_eq(s->name, "shop");
	ck_assert_str_eq(s->file, "/etc/preforkd/shop.ini");
	ck_assert_str_eq(settings_app_name(s), "wsgi app:app");
	ov.key = "workers";
	ck_assert_int_eq(settings_load(&src, &none, &errs), -EINVAL);
	ck_assert_ptr_null(none);
	ck_assert_str_eq(errs.text[0], "--workers: needs a value");
	errs_clear(&errs);
}
END_TEST

START_TEST(names_of_instances)
{
	static const struct { const char *file, *name, *path; } rows[] = {
		{ NULL, "preforkd", NULL }, { "shop.ini", "shop", "/b/shop.ini" },
		{ "../x/shop.conf", "shop.conf", "/b/shop.conf" }, { ".ini", ".ini", "/b/.ini" },
		{ "/dev/fd/..", "preforkd", "/dev/fd/.." },
		{ "a.ini.ini", "a.ini", "/b/a.ini.ini" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct settings_override ov = { "wsgi", "a:b" };
		struct settings_source src = {
			.file = rows[i].file, .text = "", .base_dir = "/b", .overrides = &ov,
			.n_overrides = 1, .default_workers = 1,
		};
		struct settings *s CLEANUP(settings_freep) = NULL;
		struct errs errs = {0};

		ck_assert_int_eq(settings_load(&src, &s, &errs), 0);
		ck_assert_str_eq(s->name, rows[i].name);
		if (rows[i].path)
			ck_assert_str_eq(s->file, rows[i].path);
		else
			ck_assert_ptr_null(s->file);
	}
}
END_TEST

START_TEST(pairs_arrive)
{
	const struct given g = {
		APP "[server]\nproxy_headers = yes\nroot-path = /x ; y\n"
		"[env]\nA = \"b\" ; c\nEMPTY =\nlower_1 = a=b\n",
		{ "env", "A = z", "env", "N=", "server", "proxy-headers=no" }, NULL, NULL
	};
	struct settings *s CLEANUP(settings_freep) = load_ok(&g);
	static const struct pair server[] = {
		{ (char *)(uintptr_t)"proxy_headers", (char *)(uintptr_t)"no", 0 },
		{ (char *)(uintptr_t)"root-path", (char *)(uintptr_t)"/x ; y", 5 },
	}, env[] = {
		{ (char *)(uintptr_t)"A", (char *)(uintptr_t)"z", 0 },
		{ (char *)(uintptr_t)"EMPTY", (char *)(uintptr_t)"", 8 },
		{ (char *)(uintptr_t)"lower_1", (char *)(uintptr_t)"a=b", 9 },
		{ (char *)(uintptr_t)"N", (char *)(uintptr_t)"", 0 },
	};

	ck_assert_uint_eq(s->server.n, ARRAY_LEN(server));
	ck_assert_uint_eq(s->env.n, ARRAY_LEN(env));
	for (size_t i = 0; i < s->server.n; i++) {
		ck_assert_str_eq(s->server.v[i].key, server[i].key);
		ck_assert_str_eq(s->server.v[i].value, server[i].value);
		ck_assert_uint_eq(s->server.v[i].line, server[i].line);
	}
	for (size_t i = 0; i < s->env.n; i++) {
		ck_assert_str_eq(s->env.v[i].key, env[i].key);
		ck_assert_str_eq(s->env.v[i].value, env[i].value);
		ck_assert_uint_eq(s->env.v[i].line, env[i].line);
	}
}
END_TEST

/* What looks like a mistake at first, and is none. */
START_TEST(legal_combinations)
{
	static const char *const inis[] = {
		APP "max-requests-jitter = 5\n",
		APP "evil-reload-on-rss = 300M\n",
		APP "ready = auto\n",
		APP "reload-on-rss = 300M\nevil-reload-on-rss = 301M\n",
		APP "min-worker-lifetime = 1h\nmax-worker-lifetime = 1h\n",
		APP "min-worker-lifetime = 1h\nmax-worker-lifetime = 0\n",
		APP "worker-class = my.own.Worker\n",
		APP "worker-class = stdlib\nthreads = 8\n",
		"[preforkd]\nwsgi = a.b.c:make_app('x y', debug=True)\n",
		"[preforkd]\nwsgi = a:b.c\n",
		"[preforkd]\nasgi = a:b\nworker-class = hypercorn\nkeepalive = 5\n",
		"[preforkd]\ncommand = x\npythonpath = /x\nvirtualenv = v\n",
		"[server]\n[env]\n[preforkd]\nwsgi = a:b\n",
		APP "[server]\nworkers_x = 1\n",
		APP "listen = systemd, fd:3, unix:@x\n",
	};

	for (size_t i = 0; i < ARRAY_LEN(inis); i++) {
		const struct given g = { inis[i], {0}, NULL, NULL };
		struct settings *s CLEANUP(settings_freep) = load_ok(&g);

		ck_assert_ptr_nonnull(s);
	}
}
END_TEST

/* Lengths around inih's buffer of 200 and around our own limit. */
START_TEST(long_lines)
{
	static const size_t lengths[] = {
		150, 185, 186, 187, 188, 189, 190, 191, 192, 193, 194, 195, 196, 197, 198, 199,
		200, 201,
		202, 203, 400, 4000, 7999, 8000, 8001, 20000,
	};
	static const char head[] = "[env]\nLONG = ";

	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		struct buf ini AUTO_BUF = BUF_INIT(100000);
		struct given g = {0};
		struct settings *s CLEANUP(settings_freep) = NULL;
		struct errs errs = {0};
		int r;

		buf_puts(&ini, head);
		/* each cut would leave something that looks like a key */
		for (size_t n = strlen("LONG = "); n < lengths[i]; n++)
			buf_putc(&ini, "workers=9 ;"[n % 11]);
		ini.data[ini.len - 1] = 'x';
		buf_puts(&ini, "\n[preforkd]\nwsgi = a:b\n");
		g.ini = ini.data;
		r = load_given(&g, &s, &errs);
		if (lengths[i] > INIFILE_LINE_MAX) {
			ck_assert_int_eq(r, -EINVAL);
			ck_assert_uint_eq(errs.n, 1);
			ck_assert_msg(strncmp(errs.text[0], "app.ini:2: the line has ", 24) == 0,
			    "%s", errs.text[0]);
			ck_assert_msg(strstr(errs.text[0], "8000") != NULL, "%s", errs.text[0]);
			errs_clear(&errs);
			continue;
		}
		if (lengths[i] > 7007) {
			ck_assert_int_eq(r, -EINVAL);
			ck_assert_msg(strstr(errs.text[0], "too long") != NULL, "%s", errs.text[0]);
			errs_clear(&errs);
			continue;
		}
		ck_assert_msg(r == 0, "%zu: %s", lengths[i], errs.n > 0 ? errs.text[0] : "");
		ck_assert_uint_eq(s->env.n, 1);
		ck_assert_uint_eq(strlen(s->env.v[0].value), lengths[i] - strlen("LONG = "));
		ck_assert_uint_eq(s->workers, 6);
	}
}
END_TEST

static char *
print_settings(const struct settings *s)
{
	struct buf out AUTO_BUF = BUF_INIT(1 << 20);

	ck_assert_int_eq(settings_print(s, &out), 0);
	return buf_take(&out);
}

/* What is printed, without the comments about origins. */
static char *
strip_comments(const char *text)
{
	struct buf out AUTO_BUF = BUF_INIT(1 << 20);

	for (const char *p = text; *p != '\0';) {
		size_t len = strcspn(p, "\n");

		if (*p != '#')
			buf_append(&out, p, len + 1);
		p += len + (p[len] == '\n');
	}
	return buf_take(&out);
}

START_TEST(print_reads_back)
{
	static const struct given rows[] = {
		{ APP, {0}, "3", "80" },
		{ NULL, { "asgi", "a:b", "env", "A=b ; c", "listen", ":1" }, NULL, NULL },
		{ "[preforkd]\ncommand = sh -c 'exec x ; y' \"#\"\nready = 1500ms\nlisten = :1\n"
		  "listen = unix:@x\nreload-on-rss = 300.5M\nreload-on-fds = off\numask = 022\n"
		  "worker-log = ./x\nrequest-timeout = 0\nmax-requests-jitter = 7\n"
		  "oom-score-adjust = -5\nlog-level = debug\nrecycle-dry-run = 1\n"
		  "pythonpath = a,b\nsocket-mode = 0\n[env]\nA=\nB = 1 # 2\n", {0}, NULL, NULL },
		{ APP "[server]\ncert-file = /x y ; z\n", {0}, NULL, NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct settings *s CLEANUP(settings_freep) = load_ok(&rows[i]);
		struct settings *again CLEANUP(settings_freep) = NULL;
		char *text AUTO_FREE = print_settings(s), *second AUTO_FREE = NULL;
		char *bare AUTO_FREE = strip_comments(text), *bare2 AUTO_FREE = NULL;
		const struct given g = { text, {0}, NULL, NULL };

		again = load_ok(&g);
		second = print_settings(again);
		bare2 = strip_comments(second);
		ck_assert_str_eq(bare, bare2);
	}
}
END_TEST

START_TEST(samples_load)
{
	static const char *const names[] = { "flask", "django", "fastapi", "preforkd" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct settings *s CLEANUP(settings_freep) = NULL;
		const char *dir = getenv("srcdir");
		struct settings_override ov = { "wsgi", "a:b" };
		struct settings_source src = {
			.file = "sample.ini", .base_dir = "/", .default_workers = 1,
			.overrides = &ov,
			.n_overrides = i == 3,	/* names no application */
		};
		struct errs errs = {0};
		char path[4096];
		static char text[100000];
		FILE *f;

		snprintf(path, sizeof(path), "%s/conf/%s.ini", dir ? dir : ".", names[i]);
		f = fopen(path, "r");
		ck_assert_msg(f != NULL, "cannot open %s (is srcdir set?)", path);
		src.len = fread(text, 1, sizeof(text), f);
		fclose(f);
		src.text = text;
		ck_assert_msg(settings_load(&src, &s, &errs) == 0, "%s: %s", names[i],
		    errs.n > 0 ? errs.text[0] : "");
	}
}
END_TEST

START_TEST(restart_keys)
{
	static const struct { const char *label, *old, *new_, *want; } rows[] = {
		{ "nothing", APP, APP "workers = 9\nlisten = :1\n", "" },
		{ "control", APP, APP "control = /x\n", "control" },
		{ "control gone", APP "control = /x\n", APP, "control" },
		{ "same control", APP "control = /x\n", APP "control = //x\n", "" },
		{ "pidfile and control", APP "pidfile = a\n", APP "pidfile = b\ncontrol = c\n",
		  "control, pidfile" },
		{ "to systemd", APP, APP "listen = systemd\n", "listen" },
		{ "from systemd", APP "listen = systemd\n", APP, "listen" },
		{ "systemd stays", APP "listen = systemd\n", APP "listen = :1, systemd\n", "" },
		{ "fd", APP "listen = fd:3\n", APP "listen = fd:4\n", "listen" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct given a = { rows[i].old, {0}, 0, 0 }, b = { rows[i].new_, {0}, 0, 0 };
		struct settings *old CLEANUP(settings_freep) = load_ok(&a);
		struct settings *new_ CLEANUP(settings_freep) = load_ok(&b);
		struct buf out AUTO_BUF = BUF_INIT(1000), after AUTO_BUF = BUF_INIT(1000);

		settings_restart_diff(old, new_, &out);
		ck_assert_msg(strcmp(out.data ? out.data : "", rows[i].want) == 0, "%s: %s",
		    rows[i].label, out.data);
		ck_assert_int_eq(settings_keep_restart_keys(old, new_), 0);
		settings_restart_diff(old, new_, &after);
		ck_assert_msg(after.len == 0, "%s", rows[i].label);
	}
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("core");

	tcase_add_test(tc, values_arrive);
	tcase_add_test(tc, switch_without_value);
	tcase_add_test(tc, names_of_instances);
	tcase_add_test(tc, pairs_arrive);
	tcase_add_test(tc, legal_combinations);
	tcase_add_test(tc, long_lines);
	tcase_add_test(tc, print_reads_back);
	tcase_add_test(tc, samples_load);
	tcase_add_test(tc, restart_keys);
	return run_case("settings", tc);
}
