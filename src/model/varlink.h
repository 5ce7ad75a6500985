/*
 * varlink.h - framing and shape of Varlink messages, for both sides. Pure.
 *
 * A message is a JSON object followed by one NUL byte (varlink.org). This module
 * finds messages in a byte stream, checks their shape, and builds calls and
 * replies; sockets are the callers'.
 */
#ifndef PREFORKD_VARLINK_H
#define PREFORKD_VARLINK_H

#include "base/base.h"
#include "base/err.h"

#include <jansson.h>

struct buf;

#define VARLINK_REQUEST_MAX 16384	/* bytes of one request */
#define VARLINK_REPLY_MAX   (4u << 20)	/* bytes of one reply */
#define VARLINK_INTERFACE   "io.preforkd.Manager"

/* The interface description that GetInterfaceDescription answers. */
extern const char varlink_description[];

/* That of the interface which every service has. */
#define VARLINK_SERVICE     "org.varlink.service"
extern const char varlink_service_description[];

struct varlink_call {
	json_t *message;	/* owned */
	const char *method;	/* into message */
	json_t *parameters;	/* borrowed, never NULL: an empty object when absent */
	bool more;
	bool oneway;
};

/* Takes the first complete message off b. 1: *ret is set; 0: none complete yet;
 * -EMSGSIZE: longer than max without an end; -EBADMSG: not a JSON object. */
int varlink_take(struct buf *b, size_t max, json_t **ret);

/* Takes over message on success. 0, -EBADMSG or -ENOMEM with e. */
int varlink_parse_call(json_t *message, struct varlink_call *ret, struct err *e);
void varlink_call_done(struct varlink_call *c);

/* All append one NUL-terminated message to out, or nothing. parameters may be NULL and is
 * borrowed. 0 or -ENOMEM: no memory, or out's limit is reached. */
int varlink_put_call(struct buf *out, const char *method, json_t *parameters, bool more);
int varlink_put_oneway(struct buf *out, const char *method, json_t *parameters);
int varlink_put_reply(struct buf *out, json_t *parameters, bool continues);
int varlink_put_error(struct buf *out, const char *error, json_t *parameters);

#endif
