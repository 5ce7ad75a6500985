/*
 * steering.c - see steering.h.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/steering.h"

#include <stdlib.h>

/* Stands for "any of k": the kernel's random number, cut down to 0..k-1. */
static unsigned
put_draw(struct sock_filter *code, unsigned k)
{
	code[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
	    (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM));
	code[1] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, k);
	return 2;
}

static unsigned
put_return(struct sock_filter *code, unsigned index)
{
	code[0] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, index);
	return 1;
}

bool
steering_add(struct steering *s, unsigned lane)
{
	if (s->n == STEERING_LANES_MAX || lane > UINT16_MAX)
		return false;
	s->order[s->n++] = (uint16_t)lane;
	return true;
}

void
steering_remove(struct steering *s, unsigned lane)
{
	for (unsigned i = 0; i < s->n; i++) {
		if (s->order[i] == lane) {
			s->order[i] = s->order[--s->n];
			return;
		}
	}
}

static int
compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* What each of the k lanes lacks of an equal part of all connections; in hundredths of what the
 * first, which has the fewest, lacks. What is known is up to 200 ms old: half of the lanes stay
 * with a fair share in any case. */
static void
share_out(const uint64_t *key, unsigned k, uint64_t all, uint8_t *ret_share)
{
	uint64_t part = (all + k - 1) / k, most = MAX_OF(base_less(part, key[0] >> 32), 1u);

	for (unsigned i = 0; i < k; i++) {
		uint64_t share = base_less(part, key[i] >> 32) * STEERING_SHARE_MAX / most;

		if (i < (k + 1) / 2)
			share = MAX_OF(share, STEERING_SHARE_MAX / STEERING_FAIR);
		ret_share[(uint32_t)key[i]] = (uint8_t)share;
	}
}

void
steering_choose(const struct steering_lane *lanes, unsigned n, uint64_t returning,
    uint8_t *ret_share)
{
	/* connections, and below them the lane */
	uint64_t key[STEERING_LANES_MAX], sum = 0, limit;
	unsigned k = 0, live = 0, waiting = 0;
	bool leave_out;

	for (unsigned i = 0; i < n; i++) {
		live += lanes[i].live;
		waiting += lanes[i].live && lanes[i].waits;
	}
	leave_out = waiting <= live / 2;
	for (unsigned i = 0; i < n; i++) {
		ret_share[i] = 0;
		if (!lanes[i].live || (lanes[i].waits && leave_out) || k == STEERING_LANES_MAX)
			continue;
		key[k++] = (uint64_t)lanes[i].connections << 32 | i;
		sum += lanes[i].connections;
	}
	if (k == 0)
		return;
	qsort(key, k, sizeof key[0], compare);
	if (returning * STEERING_MANY >= sum + returning && returning > 0) {
		share_out(key, k, sum + returning, ret_share);
		return;
	}
	/* An eighth above the mean, and one, is no reason to leave a lane out. */
	limit = sum / k + sum / k / 8 + 1;
	for (unsigned i = 0; i < k; i++)
		if (i < (k + 1) / 2 || key[i] >> 32 <= limit)
			ret_share[(uint32_t)key[i]] = 1;
}

unsigned
steering_program(const struct steering *s, const uint8_t *shares, unsigned n_shares,
    struct sock_filter *code)
{
	uint16_t index[STEERING_LANES_MAX];
	unsigned k = 0, n = 0, sum = 0, upto = 0;
	bool is_even = true;

	for (unsigned i = 0; i < s->n; i++) {
		unsigned lane = s->order[i], share = lane < n_shares ? shares[lane] : 0;

		if (share == 0)
			continue;
		index[k++] = (uint16_t)i;
		sum += share;
		is_even = is_even && share == shares[s->order[index[0]]];
	}
	if (s->n == 0)
		return 0;
	if (k == 1)
		return put_return(code, index[0]);
	if (k == 0 || (k == s->n && is_even)) {
		n = put_draw(code, s->n);
		code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_A, 0);
		return n;
	}
	n = put_draw(code, sum);
	for (unsigned i = 0; i + 1 < k; i++) {
		upto += shares[s->order[index[i]]];
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, upto, 1, 0);
		n += put_return(code + n, index[i]);
	}
	return n + put_return(code + n, index[k - 1]);
}
