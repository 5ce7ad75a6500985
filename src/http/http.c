/*
 * http.c - preforkd-http: the master's status for those who speak HTTP.
 *
 *   preforkd-http CONTROL_FD LISTEN_FD...
 *
 * Started by the master, as a user who may do nothing, with one end of a control
 * connection and the listening sockets of status-listen. Ends when the master closes its
 * end: exit 0; 1 when something failed; 2 when it was started wrongly.
 *
 * One thread; libmicrohttpd's sockets and the master's are waited for together. A call to
 * the master holds up everybody for at most UPSTREAM_TIMEOUT_MS, once (upstream.h). A
 * connection carries one request and lives for CONNECTION_S at most, less when many are
 * open, so that clients that send or read a byte now and then cannot take all the places.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/io.h"
#include "base/log.h"
#include "http/pages.h"
#include "model/values.h"

#include <microhttpd.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define LISTENERS_MAX   16
#define CONNECTIONS_MAX 64
#define CONNECTION_S    30
#define CROWDED_S       2		/* the same when more than half of them are taken */
#define IDLE_S          10
#define MEMORY_MAX      ((size_t)16384)		/* of one connection */

struct place {
	const struct MHD_Connection *connection;	/* NULL: free */
	int fd;
	uint64_t since_ms;
};

struct server {
	struct upstream upstream;
	struct MHD_Daemon *daemons[LISTENERS_MAX];
	int epoll_fds[LISTENERS_MAX];
	size_t n;
	struct place places[CONNECTIONS_MAX];
};

static enum MHD_Result
on_request(void *ctx, struct MHD_Connection *connection, const char *url, const char *method,
    const char *version UNUSED, const char *data UNUSED, size_t *data_len UNUSED,
    void **request_ctx UNUSED)
{
	struct server *s = ctx;
	struct MHD_Response *response;
	enum MHD_Result result = MHD_NO;
	struct page page;
	size_t len;
	char *body;

	page_make(&s->upstream, method, url, MHD_lookup_connection_value(connection,
	    MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT), &page);
	len = page.body.len;
	body = buf_take(&page.body);
	if (body == NULL)
		return MHD_NO;
	response = MHD_create_response_from_buffer(len, body, MHD_RESPMEM_MUST_FREE);
	if (response == NULL) {
		free(body);
		return MHD_NO;
	}
	if (MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, page.type) == MHD_YES &&
	    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store") ==
	    MHD_YES &&
	    MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close") == MHD_YES &&
	    (page.allow == NULL ||
	    MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, page.allow) == MHD_YES))
		result = MHD_queue_response(connection, page.code, response);
	MHD_destroy_response(response);
	return result;
}

static void
on_connection(void *ctx, struct MHD_Connection *connection, void **socket_ctx UNUSED,
    enum MHD_ConnectionNotificationCode what)
{
	const union MHD_ConnectionInfo *info;
	struct server *s = ctx;

	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		struct place *p = &s->places[i];

		if (what == MHD_CONNECTION_NOTIFY_CLOSED && p->connection == connection) {
			*p = (struct place){ .fd = -1 };
			return;
		}
		if (what == MHD_CONNECTION_NOTIFY_STARTED && p->connection == NULL) {
			info = MHD_get_connection_info(connection,
			    MHD_CONNECTION_INFO_CONNECTION_FD);
			if (info == NULL)
				return;
			*p = (struct place){ connection, info->connect_fd, io_now_ms() };
			return;
		}
	}
}

static void on_log(void *ctx, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);

/* What libmicrohttpd has to say is about clients: that one went away, mostly. */
static void
on_log(void *ctx UNUSED, const char *fmt, va_list ap)
{
	char text[512];

	if (vsnprintf(text, sizeof(text), fmt, ap) > 0)
		log_debug("preforkd-http: %.*s", (int)strcspn(text, "\n"), text);
}

static unsigned
count_connections(const struct server *s)
{
	unsigned n = 0;

	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		n += s->places[i].connection != NULL;
	return n;
}

/* Ends the connections that have lived too long; libmicrohttpd sees the end-of-file. */
static void
end_old_connections(struct server *s)
{
	uint64_t now = io_now_ms();
	uint64_t limit_s = count_connections(s) > CONNECTIONS_MAX / 2 ? CROWDED_S : CONNECTION_S;

	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		if (s->places[i].connection != NULL &&
		    now - s->places[i].since_ms > limit_s * MSEC_PER_SEC)
			(void)shutdown(s->places[i].fd, SHUT_RDWR);
}

/* Serves on one listening socket. */
static int
start(struct server *s, int listen_fd, unsigned connections_max)
{
	const union MHD_DaemonInfo *info;
	struct MHD_Daemon *d = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL,
	    on_request, s,
	    MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
	    MHD_OPTION_LISTEN_SOCKET, listen_fd,
	    MHD_OPTION_CONNECTION_LIMIT, connections_max,
	    MHD_OPTION_CONNECTION_MEMORY_LIMIT, MEMORY_MAX,
	    MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S,
	    MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
	    MHD_OPTION_END);

	if (d == NULL)
		return -EIO;
	info = MHD_get_daemon_info(d, MHD_DAEMON_INFO_EPOLL_FD);
	if (info == NULL) {
		MHD_stop_daemon(d);
		return -EIO;
	}
	s->daemons[s->n] = d;
	s->epoll_fds[s->n++] = info->epoll_fd;
	return 0;
}

/* How long poll may wait: until libmicrohttpd wants to be called, or a connection could
 * have become too old. */
static int
next_wait_ms(const struct server *s)
{
	MHD_UNSIGNED_LONG_LONG wait_ms, least = 1000;

	if (count_connections(s) == 0)
		return -1;
	for (size_t i = 0; i < s->n; i++)
		if (MHD_get_timeout(s->daemons[i], &wait_ms) == MHD_YES)
			least = MIN_OF(least, wait_ms);
	return (int)least;
}

/* A daemon that was full listens again in the run after the one in which it closed a
 * connection; nothing would wake us up for that. */
static void
run_daemons(struct server *s)
{
	unsigned before;

	do {
		before = count_connections(s);
		for (size_t i = 0; i < s->n; i++)
			(void)MHD_run(s->daemons[i]);
	} while (count_connections(s) < before);
}

static int
serve(struct server *s)
{
	for (;;) {
		struct pollfd fds[LISTENERS_MAX + 1] = {
			{ .fd = s->upstream.fd, .events = POLLIN },
		};
		int r;

		for (size_t i = 0; i < s->n; i++)
			fds[i + 1] = (struct pollfd){ .fd = s->epoll_fds[i], .events = POLLIN };
		if (poll(fds, s->n + 1, next_wait_ms(s)) < 0 && errno != EINTR) {
			log_error("preforkd-http: poll: %m");
			return 1;
		}
		r = upstream_check(&s->upstream);
		if (r == -ECONNRESET || r == -EPIPE)
			return 0;
		if (r < 0) {
			log_error("preforkd-http: lost the master: %s", strerror(-r));
			return 1;
		}
		end_old_connections(s);
		run_daemons(s);
	}
}

/* A descriptor's number that is open. */
static int
parse_fd(const char *text)
{
	uint64_t n;

	if (value_parse_count(text, &n, NULL) < 0 || n > INT32_MAX || dup2((int)n, (int)n) < 0)
		return -1;
	return (int)n;
}

int
main(int argc, char **argv)
{
	static struct server s;
	int n_listeners = argc - 2;

	log_init(STDERR_FILENO);
	(void)signal(SIGPIPE, SIG_IGN);
	if (n_listeners < 1 || n_listeners > LISTENERS_MAX || parse_fd(argv[1]) < 0) {
		log_error("preforkd-http is started by preforkd: see status-listen in"
		    " preforkd.ini(5)");
		return 2;
	}
	upstream_init(&s.upstream, parse_fd(argv[1]));
	for (int i = 0; i < n_listeners; i++) {
		int fd = parse_fd(argv[i + 2]);

		if (fd < 0 || start(&s, fd, CONNECTIONS_MAX / (unsigned)n_listeners) < 0) {
			log_error("preforkd-http: cannot serve on descriptor %s", argv[i + 2]);
			return fd < 0 ? 2 : 1;
		}
	}
	return serve(&s);
}
