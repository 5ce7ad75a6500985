/*
 * base.h - ownership helpers and small macros used by every layer.
 *
 * Local variables that own something are marked AUTO_FREE or AUTO_CLOSE and are
 * released on every way out of the function; TAKE_PTR and TAKE_FD hand the
 * value over to somebody else and leave the variable empty.
 */
#ifndef PREFORKD_BASE_H
#define PREFORKD_BASE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define UNUSED __attribute__((unused))
#define NO_RETURN __attribute__((noreturn))

#define container_of(ptr, type, member) \
	((type *)(void *)((char *)(ptr) - offsetof(type, member)))

#define TAKE(var, empty) __extension__({		\
	__typeof__(var) *take_p_ = &(var);		\
	__typeof__(var) take_v_ = *take_p_;		\
	*take_p_ = (empty);				\
	take_v_; })
#define TAKE_PTR(p)	TAKE(p, NULL)
#define TAKE_FD(fd)	TAKE(fd, -1)

#define CLEANUP(fn)	__attribute__((cleanup(fn)))
#define AUTO_FREE	CLEANUP(base_free_p)
#define AUTO_CLOSE	CLEANUP(base_close_p)

static inline void
base_free_p(void *p)
{
	void **pp = p;

	free(*pp);
	*pp = NULL;
}

/* Closes *fd when it is open; errno survives. */
static inline void
base_close_p(int *fd)
{
	if (*fd >= 0) {
		int saved = errno;

		close(*fd);
		*fd = -1;
		errno = saved;
	}
}

/* Frees *p and sets it to the owned value v. */
static inline void
base_replace(char **p, char *v)
{
	free(*p);
	*p = v;
}

#define MIN_OF(a, b) ((a) < (b) ? (a) : (b))
#define MAX_OF(a, b) ((a) > (b) ? (a) : (b))

/* a - b, not below 0. */
static inline uint64_t
base_less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

#define MSEC_PER_SEC  UINT64_C(1000)
#define USEC_PER_MSEC UINT64_C(1000)
#define USEC_PER_SEC  UINT64_C(1000000)
#define NSEC_PER_MSEC UINT64_C(1000000)

#endif
