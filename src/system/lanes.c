/*
 * lanes.c - see lanes.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "system/lanes.h"

#include "model/steering.h"

#include <linux/tcp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

struct lanes {
	struct listener *v[STEERING_LANES_MAX];	/* [0] is the listener itself */
	unsigned n;
	struct steering steering;
	uint8_t shares[STEERING_LANES_MAX];	/* what the kernel was told last */
	bool is_steered;
};

unsigned
lanes_count(const struct listener *l)
{
	return l->lanes != NULL ? l->lanes->n : 1;
}

struct listener *
lanes_socket(struct listener *l, unsigned lane)
{
	return l->lanes != NULL && lane < l->lanes->n ? l->lanes->v[lane] : l;
}

bool
lanes_possible(const struct listener *l)
{
	return l->is_ours && l->address.kind == ADDRESS_TCP;
}

static struct lanes *
lanes_of(struct listener *l)
{
	if (l->lanes != NULL)
		return l->lanes;
	l->lanes = calloc(1, sizeof *l->lanes);
	if (l->lanes == NULL)
		return NULL;
	l->lanes->v[0] = l;
	l->lanes->n = 1;
	(void)steering_add(&l->lanes->steering, 0);
	return l->lanes;
}

int
lanes_grow(struct listener *l, unsigned n, int backlog, struct err *e)
{
	const struct listen_options o = {
		.backlog = backlog, .uid = (uid_t)-1, .gid = (gid_t)-1, .share_port = true,
	};
	struct lanes *lanes;
	int r;

	if (n <= lanes_count(l))
		return 0;
	if (n > STEERING_LANES_MAX || !lanes_possible(l))
		return err_set(e, ERANGE, "%s cannot have %u sockets", l->address.text, n);
	lanes = lanes_of(l);
	if (lanes == NULL)
		return err_sys(e, ENOMEM, "%s", l->address.text);
	/* The first one was bound alone: a foreign socket at this address would have been in
	 * the way, and not a silent sharer. */
	listener_share_port(l, true);
	while (lanes->n < n) {
		r = listener_open(&l->address, &o, &lanes->v[lanes->n], e);
		if (r < 0) {
			if (lanes->n == 1)
				listener_share_port(l, false);
			return r;
		}
		(void)steering_add(&lanes->steering, lanes->n);
		lanes->shares[lanes->n++] = 0;
		/* From the second one on there is something to steer; before, nothing can be. */
		if (!lanes->is_steered)
			(void)lanes_steer(l, (const uint8_t[]){ 1 }, 1, e);
	}
	return 0;
}

void
lanes_shrink(struct listener *l, unsigned n)
{
	struct lanes *lanes = l->lanes;

	while (lanes != NULL && lanes->n > MAX_OF(n, 1u)) {
		unsigned last = --lanes->n;

		steering_remove(&lanes->steering, last);
		/* A copy that a worker left to somebody would keep it in the kernel's array. */
		listener_shutdown(lanes->v[last]);
		listener_unref(TAKE_PTR(lanes->v[last]));
	}
	if (lanes == NULL || lanes->n > 1 || !lanes->is_steered)
		return;
	lanes->is_steered = false;
	(void)setsockopt(l->fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &(int){ 0 }, sizeof(int));
	listener_share_port(l, false);
}

int
lanes_steer(struct listener *l, const uint8_t *shares, unsigned n, struct err *e)
{
	struct sock_filter code[STEERING_PROGRAM_MAX];
	struct sock_fprog program = { .filter = code };
	struct lanes *lanes = l->lanes;
	uint8_t wanted[STEERING_LANES_MAX] = { 0 };

	if (lanes == NULL || lanes->n < 2)
		return 0;
	memcpy(wanted, shares, MIN_OF(n, lanes->n) * sizeof wanted[0]);
	if (lanes->is_steered && memcmp(wanted, lanes->shares, sizeof wanted) == 0)
		return 0;
	program.len = (unsigned short)steering_program(&lanes->steering, wanted, lanes->n, code);
	/* Told once for each change, whether the kernel takes it or not. */
	memcpy(lanes->shares, wanted, sizeof wanted);
	lanes->is_steered = true;
	if (setsockopt(l->fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program,
	    sizeof program) < 0)
		return err_sys(e, errno, "%s: cannot steer new connections away from slots "
		    "without a ready worker (SO_ATTACH_REUSEPORT_CBPF)", l->address.text);
	return 0;
}

int
lanes_check(struct listener *l, unsigned lane, int backlog, struct err *e)
{
	struct listener *s = lanes_socket(l, lane);
	int r = listener_check(s, backlog, e);

	if (r > 0 && e->code == ESHUTDOWN && l->lanes != NULL && lane < l->lanes->n) {
		/* It left the kernel's array when it was shut down, and came back as the last. */
		steering_remove(&l->lanes->steering, lane);
		(void)steering_add(&l->lanes->steering, lane);
		l->lanes->is_steered = false;
	}
	return r;
}

/* Drops segments with SYN and without ACK; the kernel runs it from the TCP header on. A
 * connection that is accepted later inherits it, where it has nothing to do. */
static void
block_tcp(struct listener *l)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x12),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x02, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	struct sock_fprog program = { .len = ARRAY_LEN(code), .filter = code };

	/* Where it is refused the queue can only be made short, and some may be reset. */
	if (setsockopt(l->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0)
		(void)listen(l->fd, 0);
}

void
lanes_block(struct listener *l)
{
	if (!l->is_ours || l->is_blocked)
		return;
	l->is_blocked = true;
	if (l->address.kind == ADDRESS_TCP) {
		for (unsigned i = 0; i < lanes_count(l); i++)
			block_tcp(lanes_socket(l, i));
		return;
	}
	/* A name without a file can only be made less inviting. */
	listener_unlink(l);
	(void)listen(l->fd, 0);
}

bool
lanes_unblock(struct listener *l)
{
	if (!l->is_blocked)
		return true;
	if (l->address.kind != ADDRESS_TCP)
		return false;
	for (unsigned i = 0; i < lanes_count(l); i++)
		(void)setsockopt(lanes_socket(l, i)->fd, SOL_SOCKET, SO_DETACH_FILTER, &(int){ 0 },
		    sizeof(int));
	l->is_blocked = false;
	return true;
}

void
lanes_free(struct listener *l)
{
	if (l->lanes == NULL)
		return;
	for (unsigned i = 1; i < l->lanes->n; i++)
		listener_unref(l->lanes->v[i]);
	free(TAKE_PTR(l->lanes));
}
