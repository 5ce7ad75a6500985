/*
 * test_settings_errors.c - every mistake is told, once, with its place and a remedy.
 */
#include "base/buf.h"
#include "model/inifile.h"
#include "model/settings.h"
#include "run_case.h"
#include "settings_fixture.h"

#include <check.h>
#include <string.h>

/* Each row has one mistake; the text must begin with `begin` and hold `part`. */
static const struct mistake { struct given g; const char *begin, *part; } mistakes[] = {
	/* lines */
	{ { "wsgi = a:b\n" APP, {0}, 0, 0 }, "app.ini:1: ", "[preforkd]" },
	{ { APP "\njust text\n", {0}, 0, 0 }, "app.ini:4: ", "'just text'" },
	{ { APP "  workers = 2\n", {0}, 0, 0 }, "app.ini:3: ", "indented" },
	{ { "[preforkd]\ncommand = a\n   --b\n", {0}, 0, 0 }, "app.ini:3: ", "indented" },
	{ { APP "= 2\n", {0}, 0, 0 }, "app.ini:3: ", "no key" },
	{ { APP "work ers = 2\n", {0}, 0, 0 }, "app.ini:3: ", "not a key" },
	{ { APP "workers : 2 = 3\n", {0}, 0, 0 }, "app.ini:3: ", "not a key" },
	{ { APP "workers: 2\n", {0}, 0, 0 }, "app.ini:3: ", "no '='" },
	{ { APP "chdir = /a\x01\n", {0}, 0, 0 }, "app.ini:3: ", "0x01 in column 11" },
	{ { APP "[server\n", {0}, 0, 0 }, "app.ini:3: ", "']' is missing" },
	{ { APP "[server] x\n", {0}, 0, 0 }, "app.ini:3: ", "after a section" },
	{ { APP "[sever]\nanything = 1\n", {0}, 0, 0 }, "app.ini:3: ", "did you mean [server]?" },
	{ { APP "[nonsense]\n", {0}, 0, 0 }, "app.ini:3: ", "unknown section 'nonsense'" },
	{ { APP "[env]\n[preforkd]\n", {0}, 0, 0 }, "app.ini:4: ", "in line 1" },
	/* keys */
	{ { APP "max_requests = 2\n", {0}, 0, 0 }, "app.ini:3: unknown key 'max_requests'",
	  "did you mean 'max-requests'?" },
	{ { APP "bind = :80\n", {0}, 0, 0 }, "app.ini:3: unknown key 'bind'", "'listen'" },
	{ { APP "certfile = x\n", {0}, 0, 0 }, "app.ini:3: unknown key", "section [server]" },
	{ { APP "zzzzz = 2\n", {0}, 0, 0 }, "app.ini:3: unknown key 'zzzzz'", "" },
	{ { APP "workers = 2\nworkers = 3\n", {0}, 0, 0 }, "app.ini:4: workers: ", "in line 3" },
	{ { APP "[env]\nA = 1\nA = 2\n", {0}, 0, 0 }, "app.ini:5: [env] 'A'", "in line 4" },
	{ { APP "[server]\na-b = 1\na_b = 2\n", {0}, 0, 0 }, "app.ini:5: [server]", "in line 4" },
	{ { NULL, { "wsgi", "a:b", "worker", "2" }, 0, 0 }, "--worker: unknown option",
	  "'--workers'" },
	/* values */
	{ { APP "workers = x\n", {0}, 0, 0 }, "app.ini:3: workers: 'x' ", "whole number" },
	{ { APP "workers = 0\n", {0}, 0, 0 }, "app.ini:3: workers: '0' ", "from 1 to 4096" },
	{ { APP "workers = 2 ; two\n", {0}, 0, 0 }, "app.ini:3: workers: ", "a line of its own" },
	{ { APP "chdir = /a # b\n", {0}, 0, 0 }, "app.ini:3: chdir: ", "a line of its own" },
	{ { APP "chdir = ~/x\n", {0}, 0, 0 }, "app.ini:3: chdir: ", "not expanded" },
	{ { APP "workers =\n", {0}, 0, 0 }, "app.ini:3: workers: ", "empty" },
	{ { APP "reload-on-rss = 300\n", {0}, 0, 0 }, "app.ini:3: reload-on-rss: ", "300M" },
	{ { APP "reload-on-rss = 50%\n", {0}, 0, 0 }, "app.ini:3: reload-on-rss: ", "cgroup" },
	{ { APP "reload-on-as = 50%\n", {0}, 0, 0 }, "app.ini:3: reload-on-as: ", "cgroup" },
	{ { APP "reload-on-rss = 1K\n", {0}, 0, 0 }, "app.ini:3: reload-on-rss: ", "0 for off" },
	{ { APP "timeout = 5 minutes\n", {0}, 0, 0 }, "app.ini:3: timeout: ", "not a time" },
	{ { APP "max-requests-jitter = 110%\n", {0}, 0, 0 }, "app.ini:3: max-requests-jitter: ",
	  "100%" },
	{ { APP "max-requests-jitter = %\n", {0}, 0, 0 }, "app.ini:3: max-requests-jitter: ", "%" },
	{ { APP "log-level = inf\n", {0}, 0, 0 }, "app.ini:3: log-level: ", "'info'" },
	{ { APP "log-format = xml\n", {0}, 0, 0 }, "app.ini:3: log-format: ", "text, json" },
	{ { APP "worker-log = inhert\n", {0}, 0, 0 }, "app.ini:3: worker-log: ", "inherit" },
	{ { APP "socket-mode = 999\n", {0}, 0, 0 }, "app.ini:3: socket-mode: ", "octal" },
	{ { APP "oom-score-adjust = 1001\n", {0}, 0, 0 },
	  "app.ini:3: oom-score-adjust: ", "-1000" },
	{ { APP "recycle-dry-run = maybe\n", {0}, 0, 0 }, "app.ini:3: recycle-dry-run: ", "yes" },
	{ { APP "listen = example.com:80\n", {0}, 0, 0 }, "app.ini:3: listen: ", "not looked up" },
	{ { APP "listen = :80,,:81\n", {0}, 0, 0 }, "app.ini:3: listen: ", "comma" },
	{ { APP "listen = :80\nlisten = 0.0.0.0:80\n", {0}, 0, 0 },
	  "app.ini:4: listen: ", "twice" },
	{ { APP "pythonpath = a::b\n", {0}, 0, 0 }, "app.ini:3: pythonpath: ", "empty path" },
	{ { APP "on-worker-exit = a | b\n", {0}, 0, 0 }, "app.ini:3: on-worker-exit: ", "shell" },
	{ { "[preforkd]\ncommand = 'a\n", {0}, 0, 0 }, "app.ini:2: command: ", "quote" },
	{ { "[preforkd]\ncommand = a ; b\n", {0}, 0, 0 }, "app.ini:2: command: ", "quote it" },
	{ { "[preforkd]\ncommand = a\nready = soon\n", {0}, 0, 0 },
	  "app.ini:3: ready: ", "notify" },
	{ { APP, { "workers", "x" }, 0, 0 }, "--workers: 'x' ", "whole number" },
	{ { APP, { "chdir", "/a\nb" }, 0, 0 }, "--chdir: ", "control character" },
	{ { APP, { "env", "A" }, 0, 0 }, "--env: 'A'", "KEY=VALUE" },
	{ { APP, { "server", "a b=1" }, 0, 0 }, "--server: ", "KEY=VALUE" },
	{ { APP, { "env", "A=\n" }, 0, 0 }, "--env: ", "control character" },
	{ { APP, {0}, "two", 0 }, "$WEB_CONCURRENCY: 'two' ", "whole number" },
	{ { APP, {0}, "0", 0 }, "$WEB_CONCURRENCY: '0' ", "out of range" },
	{ { APP, {0}, 0, "http" }, "$PORT: 'http' ", "65535" },
	{ { APP, {0}, 0, "0" }, "$PORT: '0' ", "65535" },
	{ { APP, {0}, 0, "65536" }, "$PORT: '65536' ", "65535" },
	/* together */
	{ { "[preforkd]\nworkers = 2\n", {0}, 0, 0 }, "app.ini: ", "nothing to run" },
	{ { NULL, {0}, 0, 0 }, "--wsgi: ", "nothing to run" },
	{ { "[preforkd]\nwsgi_app = a:b\n", {0}, 0, 0 }, "app.ini:2: unknown key", "'wsgi'" },
	{ { APP "asgi = a:b\n", {0}, 0, 0 }, "app.ini:3: asgi: ", "'wsgi' is set as well" },
	{ { APP, { "command", "x" }, 0, 0 }, "--command: ", "'wsgi' is set as well" },
	{ { "[preforkd]\nwsgi = app\n", {0}, 0, 0 }, "app.ini:2: wsgi: 'app' ", "'app:app'" },
	{ { "[preforkd]\nwsgi = app.py:app\n", {0}, 0, 0 }, "app.ini:2: wsgi: ", "names a file" },
	{ { "[preforkd]\nasgi = src/app:app\n", {0}, 0, 0 }, "app.ini:2: asgi: ", "names a file" },
	{ { "[preforkd]\nasgi = :app\n", {0}, 0, 0 }, "app.ini:2: asgi: ", "MODULE:OBJECT" },
	{ { "[preforkd]\nasgi = app:\n", {0}, 0, 0 }, "app.ini:2: asgi: ", "MODULE:OBJECT" },
	{ { APP "worker-class = uvicorn\n", {0}, 0, 0 }, "app.ini:3: worker-class: ", "asgi" },
	{ { "[preforkd]\nasgi = a:b\nworker-class = sync\n", {0}, 0, 0 },
	  "app.ini:3: worker-class: ", "wsgi" },
	{ { APP "worker-class = gthred\n", {0}, 0, 0 }, "app.ini:3: worker-class: ", "'gthread'" },
	{ { APP "worker-class = uvicorn.workers.UvicornWorker\n", {0}, 0, 0 },
	  "app.ini:3: worker-class: ", "'worker-class = uvicorn'" },
	{ { "[preforkd]\ncommand = x\nworker-class = sync\n", {0}, 0, 0 },
	  "app.ini:3: worker-class: ", "'command'" },
	{ { "[preforkd]\ncommand = x\nthreads = 2\n", {0}, 0, 0 }, "app.ini:3: threads: ",
	  "'command'" },
	{ { "[preforkd]\nasgi = a:b\nthreads = 2\n", {0}, 0, 0 },
	  "app.ini:3: threads: ", "'asgi'" },
	{ { "[preforkd]\ncommand = x\n[server]\na = b\n", {0}, 0, 0 }, "app.ini:4: [server] 'a'",
	  "'command'" },
	{ { APP "ready = notify\n", {0}, 0, 0 }, "app.ini:3: ready: ", "'wsgi'" },
	{ { "[preforkd]\ncommand = x\npreload = yes\n", {0}, 0, 0 }, "app.ini:3: preload: ",
	  "'command'" },
	{ { APP "preload = maybe\n", {0}, 0, 0 }, "app.ini:3: preload: ", "auto" },
	{ { APP "preload = no\nwarm-up = /\n", {0}, 0, 0 }, "app.ini:4: warm-up: ",
	  "'preload = no'" },
	{ { APP "preload = no\nbefore-fork = a:b\n", {0}, 0, 0 }, "app.ini:4: before-fork: ",
	  "'preload = no'" },
	{ { APP "warm-up = / login\n", {0}, 0, 0 }, "app.ini:3: warm-up: 'login'", "/login" },
	{ { APP "warm-up = http://x\n", {0}, 0, 0 }, "app.ini:3: warm-up: 'http://x'", "URL" },
	{ { APP "warm-up = a:b()\n", {0}, 0, 0 }, "app.ini:3: warm-up: 'a:b()'", "FUNCTION" },
	{ { APP "before-fork = a\n", {0}, 0, 0 }, "app.ini:3: before-fork: 'a'", "FUNCTION" },
	{ { APP "after-fork = a:b()\n", {0}, 0, 0 }, "app.ini:3: after-fork: ", "FUNCTION" },
	{ { APP "worker-class = waitress\ngunicorn-config = x\n", {0}, 0, 0 },
	  "app.ini:4: gunicorn-config: ", "waitress" },
	{ { APP "min-worker-lifetime = 2h\nmax-worker-lifetime = 1h\n", {0}, 0, 0 },
	  "app.ini:3: min-worker-lifetime: ", "'max-worker-lifetime'" },
	{ { APP "reload-on-rss = 300M\nevil-reload-on-rss = 300M\n", {0}, 0, 0 },
	  "app.ini:3: reload-on-rss: ", "'evil-reload-on-rss' (300M)" },
	{ { APP "reload-on-uss = 301M\nevil-reload-on-rss = 300M\n", {0}, 0, 0 },
	  "app.ini:3: reload-on-uss: ", "'evil-reload-on-rss' (300M)" },
	{ { APP "reload-on-uss = 50%\n", {0}, 0, 0 }, "app.ini:3: reload-on-uss: ",
	  "there is none here" },
	{ { APP "memory-limit = 50%\n", {0}, 0, 0 }, "app.ini:3: memory-limit: ",
	  "there is none here" },
	{ { APP "memory-high = 5%\n", {0}, 0, 0 }, "app.ini:3: memory-high: ", "10%" },
	{ { APP "memory-high = 0\n", {0}, 0, 0 }, "app.ini:3: memory-high: ", "out of range" },
	{ { APP "memory-limit = 1G\nmemory-high = 2G\n", {0}, 0, 0 },
	  "app.ini:4: memory-high: ", "'memory-limit' (1G)" },
	{ { APP "trim-on-rss = 300M\nreload-on-rss = 300M\n", {0}, 0, 0 },
	  "app.ini:3: trim-on-rss: ", "'reload-on-rss' (300M)" },
	{ { APP "reload-on-rss = 3x\nevil-reload-on-rss = 2.5x\n", {0}, 0, 0 },
	  "app.ini:3: reload-on-rss: ", "'evil-reload-on-rss' (2.5x)" },
	{ { APP "reload-on-rss = 0.5x\n", {0}, 0, 0 }, "app.ini:3: reload-on-rss: ", "1.1x" },
	{ { APP "reload-on-fds = 100\nlimit-nofile = 64\n", {0}, 0, 0 },
	  "app.ini:3: reload-on-fds: ", "'limit-nofile'" },
	{ { APP "reload-on-as = 2G\nlimit-as = 1G\n", {0}, 0, 0 }, "app.ini:3: reload-on-as: ",
	  "'limit-as'" },
	{ { APP "status-listen = systemd\n", {0}, 0, 0 }, "app.ini:3: status-listen: ", "unix:" },
	{ { APP "status-listen = localhost:8000\n", {0}, 0, 0 }, "app.ini:3: status-listen: ",
	  "'listen'" },
	{ { APP "[server]\nbind = :80\n", {0}, 0, 0 }, "app.ini:4: [server] 'bind'", "'listen'" },
	{ { APP "[server]\nlimit_max_requests = 1\n", {0}, 0, 0 }, "app.ini:4: [server]",
	  "'max-requests'" },
	{ { APP "[server]\ndaemon = 1\n", {0}, 0, 0 }, "app.ini:4: [server] 'daemon'", "not for" },
	{ { APP "[env]\nLISTEN_FDS = 1\n", {0}, 0, 0 },
	  "app.ini:4: [env] 'LISTEN_FDS'", "preforkd" },
	{ { APP "[env]\nPREFORKD_SLOT = 1\n", {0}, 0, 0 }, "app.ini:4: [env]", "preforkd" },
	{ { APP "[env]\n1A = 1\n", {0}, 0, 0 }, "app.ini:4: [env] '1A'", "name" },
	{ { APP "[env]\nA-B = 1\n", {0}, 0, 0 }, "app.ini:4: [env] 'A-B'", "name" },
};

START_TEST(mistakes_are_told)
{
	const struct mistake *m = &mistakes[_i];
	struct settings *s = NULL;
	struct errs errs = {0};

	ck_assert_msg(load_given(&m->g, &s, &errs) == -EINVAL, "accepted: %s",
	    m->g.ini ? m->g.ini : m->begin);
	ck_assert_ptr_null(s);
	ck_assert_msg(errs.n == 1, "%zu texts: %s | %s", errs.n, errs.text[0], errs.text[1]);
	ck_assert_msg(strncmp(errs.text[0], m->begin, strlen(m->begin)) == 0, "wanted %s, got %s",
	    m->begin, errs.text[0]);
	ck_assert_msg(strstr(errs.text[0], m->part) != NULL, "wanted %s, got %s", m->part,
	    errs.text[0]);
	errs_clear(&errs);
}
END_TEST

START_TEST(all_mistakes_at_once)
{
	static const char *const want[] = {
		  "app.ini:2: ", "app.ini:3: ", "app.ini:5: ", "app.ini:6: ", "app.ini:1: wsgi",
	};
	const struct given g = {
		"[preforkd]\nworkes = 2\ntimeout = x\nwsgi = a\nnonsense\n[bad]\nx = 1\n",
		{ "workers", "-1" }, NULL, "x"
	};
	struct settings *s = NULL;
	struct errs errs = {0};

	ck_assert_int_eq(load_given(&g, &s, &errs), -EINVAL);
	ck_assert_uint_eq(errs.n, 7);
	for (size_t i = 0; i + 1 < ARRAY_LEN(want); i++)
		ck_assert_msg(strncmp(errs.text[i], want[i], strlen(want[i])) == 0, "%s",
		    errs.text[i]);
	ck_assert_msg(strncmp(errs.text[4], "--workers: ", 11) == 0, "%s", errs.text[4]);
	ck_assert_msg(strncmp(errs.text[5], "$PORT: ", 7) == 0, "%s", errs.text[5]);
	ck_assert_msg(strncmp(errs.text[6], "app.ini:4: wsgi: ", 17) == 0, "%s", errs.text[6]);
	errs_clear(&errs);
}
END_TEST

START_TEST(long_keys_and_nul)
{
	static const char nul[] = APP "workers\0 = 3\n";
	struct settings_source src = {
		.file = "app.ini", .text = nul, .len = sizeof(nul) - 1, .base_dir = "/",
		.default_workers = 1,
	};
	struct settings *s = NULL;
	struct errs errs = {0};
	struct buf ini AUTO_BUF = BUF_INIT(1000);
	struct given g = {0};

	ck_assert_int_eq(settings_load(&src, &s, &errs), -EINVAL);
	ck_assert_msg(strstr(errs.text[0], "app.ini:3: control character") != NULL, "%s",
	    errs.text[0]);
	errs_clear(&errs);
	buf_puts(&ini, APP "[env]\n");
	for (int i = 0; i < INIFILE_KEY_MAX + 1; i++)
		buf_putc(&ini, 'A');
	buf_puts(&ini, " = 1\n");
	g.ini = ini.data;
	ck_assert_int_eq(load_given(&g, &s, &errs), -EINVAL);
	ck_assert_msg(strstr(errs.text[0], "app.ini:4: this key is too long") != NULL, "%s",
	    errs.text[0]);
	errs_clear(&errs);
}
END_TEST

START_TEST(many_mistakes_are_bounded)
{
	struct buf ini AUTO_BUF = BUF_INIT(100000);
	struct given g = {0};
	struct settings *s = NULL;
	struct errs errs = {0};

	buf_puts(&ini, APP);
	for (int i = 0; i < 1000; i++)
		buf_puts(&ini, "rubbish\n");
	g.ini = ini.data;
	ck_assert_int_eq(load_given(&g, &s, &errs), -EINVAL);
	ck_assert_uint_eq(errs.n, ERRS_MAX);
	ck_assert_uint_eq(errs.dropped, 1000 - ERRS_MAX);
	errs_clear(&errs);
}
END_TEST

int
main(void)
{
	TCase *tc = tcase_create("errors");

	tcase_add_loop_test(tc, mistakes_are_told, 0, (int)ARRAY_LEN(mistakes));
	tcase_add_test(tc, all_mistakes_at_once);
	tcase_add_test(tc, long_keys_and_nul);
	tcase_add_test(tc, many_mistakes_are_bounded);
	return run_case("settings errors", tc);
}
