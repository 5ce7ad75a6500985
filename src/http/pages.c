/*
 * pages.c - what preforkd-http answers to which path.
 *
 * Whatever fails becomes a 503 with one line that says why; a monitor that only looks at
 * the code is right, and a person who looks at the body as well.
 *
 * SPDX-License-Identifier: MIT
 */
#include "http/pages.h"

#include "model/status.h"
#include "model/status_view.h"

#include <inttypes.h>
#include <string.h>

#define BODY_MAX (16u << 20)

static const char type_text[] = "text/plain; charset=utf-8";
static const char type_json[] = "application/json";
static const char type_openmetrics[] =
    "application/openmetrics-text; version=1.0.0; charset=utf-8";
static const char type_metrics[] = "text/plain; version=0.0.4; charset=utf-8";

static void set_text(struct page *p, unsigned code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* The page is this one line. */
static void
set_text(struct page *p, unsigned code, const char *fmt, ...)
{
	va_list ap;

	p->code = code;
	p->type = type_text;
	buf_clear(&p->body);
	va_start(ap, fmt);
	(void)buf_vprintf(&p->body, fmt, ap);
	va_end(ap);
	(void)buf_putc(&p->body, '\n');
}

static void
set_failure(struct page *p, int r)
{
	if (r == -ETIMEDOUT)
		set_text(p, 503, "the master does not answer");
	else if (r == -ENOMEM)
		set_text(p, 503, "out of memory");
	else
		set_text(p, 503, "the master cannot be asked");
}

/* The status object; NULL: the page says why there is none. */
static json_t *
get_status(struct upstream *u, struct page *p)
{
	json_t *parameters = NULL, *status;
	int r = upstream_call(u, "Status", &parameters);

	if (r < 0) {
		set_failure(p, r);
		return NULL;
	}
	status = json_incref(json_object_get(parameters, "status"));
	json_decref(parameters);
	if (status == NULL)
		set_text(p, 503, "the master's status is not understood");
	return status;
}

static int
append_chunk(const char *data, size_t len, void *out)
{
	return buf_append(out, data, len) < 0 ? -1 : 0;
}

static void
make_status(struct upstream *u, const char *accept UNUSED, struct page *p)
{
	json_t *status = get_status(u, p);

	if (status == NULL)
		return;
	p->code = 200;
	p->type = type_json;
	if (json_dump_callback(status, append_chunk, &p->body,
	    JSON_INDENT(2) | JSON_REAL_PRECISION(15)) < 0 || buf_putc(&p->body, '\n') < 0)
		set_failure(p, -ENOMEM);
	json_decref(status);
}

/* Whether the client asks for OpenMetrics by name and not with q=0; everybody reads the
 * older format, among them those who accept anything. */
static bool
wants_openmetrics(const char *accept)
{
	const char *range = accept == NULL ? NULL :
	    strcasestr(accept, "application/openmetrics-text");
	size_t len = range == NULL ? 0 : strcspn(range, ",");
	const char *q;

	if (range == NULL)
		return false;
	for (q = range; (q = memchr(q, ';', len - (size_t)(q - range))) != NULL;) {
		q++;
		q += strspn(q, " \t");
		if (strncasecmp(q, "q=0", 3) == 0)
			return q[3] == '.' && strspn(q + 4, "0") != strspn(q + 4, "0123456789");
	}
	return true;
}

static void
make_metrics(struct upstream *u, const char *accept, struct page *p)
{
	bool is_open = wants_openmetrics(accept);
	json_t *status = get_status(u, p);
	int r;

	if (status == NULL)
		return;
	p->code = 200;
	p->type = is_open ? type_openmetrics : type_metrics;
	r = status_print_metrics(status, is_open ? METRICS_OPENMETRICS : METRICS_TEXT, &p->body);
	json_decref(status);
	if (r == -EINVAL)
		set_text(p, 503, "the master's status is not understood");
	else if (r < 0)
		set_failure(p, r);
}

static void
make_livez(struct upstream *u, const char *accept UNUSED, struct page *p)
{
	json_t *nothing = NULL;
	int r = upstream_call(u, "Ping", &nothing);

	json_decref(nothing);
	if (r < 0)
		set_failure(p, r);
	else
		set_text(p, 200, "the master answers");
}

static void
make_readyz(struct upstream *u, const char *accept UNUSED, struct page *p)
{
	json_t *status = get_status(u, p);
	struct status_view v;
	int r;

	if (status == NULL)
		return;
	r = status_view_read(status, &v);
	if (r == 0) {
		if (strcmp(v.state, master_state_name(MS_STOPPING)) == 0)
			set_text(p, 503, "stopping");
		else if (v.n_ready == 0)
			set_text(p, 503, "no worker is ready");
		else
			set_text(p, 200, "%" PRIu64 " of %" PRIu64 " workers ready", v.n_ready,
			    v.target_workers);
		status_view_done(&v);
	} else {
		set_text(p, 503, "the master's status is not understood");
	}
	json_decref(status);
}

static const struct {
	const char *path;
	void (*make)(struct upstream *u, const char *accept, struct page *p);
} pages[] = {
	{ "/status", make_status },
	{ "/metrics", make_metrics },
	{ "/livez", make_livez },
	{ "/readyz", make_readyz },
};

void
page_make(struct upstream *u, const char *method, const char *path, const char *accept,
    struct page *ret)
{
	*ret = (struct page){ .body = BUF_INIT(BODY_MAX) };
	for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
		if (strcmp(pages[i].path, path) != 0)
			continue;
		if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0) {
			pages[i].make(u, accept, ret);
		} else {
			set_text(ret, 405, "only GET and HEAD");
			ret->allow = "GET, HEAD";
		}
		return;
	}
	set_text(ret, 404, "there are /status, /metrics, /livez and /readyz");
}

void
page_free(struct page *p)
{
	buf_free(&p->body);
}
