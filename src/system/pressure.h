/*
 * pressure.h - the kernel's word that processes wait for memory (PSI).
 *
 * Read from the memory.pressure of our control group (v2; it counts what our processes wait for,
 * whatever ancestor's limit they wait at), else from /proc/pressure/memory, which is the whole
 * machine's. Where the kernel allows it a trigger is set, and `fd` becomes readable once per window
 * in which somebody waited for PRESSURE_SOME of the time; windows of 1 s need CAP_SYS_RESOURCE,
 * and before Linux 6.4 every trigger does. Without one there is pressure_read().
 *
 * Waiting for a pressure file itself is a trap: it is always readable and writable, and only
 * EPOLLPRI means something. Hence `fd` is an epoll set with that one event in it. Whoever asks the
 * file takes the event away, the loop that waits for `fd` included: pressure_take() therefore asks
 * for the time waited, not for the event.
 *
 * Never logs. Roots as in cgroup.h and procmem.h.
 */
#ifndef PREFORKD_PRESSURE_H
#define PREFORKD_PRESSURE_H

#include "base/base.h"
#include "system/proctext.h"

#include <limits.h>

#define PRESSURE_SOME  15u	/* percent of a trigger's window */
#define PRESSURE_AVG10 1000u	/* avg10 from which on there is pressure, in 1/100 percent */

struct pressure {
	int fd;			/* wait for reading; -1: no trigger, only pressure_read() */
	int file_fd;		/* -1: no pressure file at all */
	int trigger_fd;
	uint64_t total_us;	/* waited, when it was looked at last */
	char path[PATH_MAX];	/* of the file */
};

#define PRESSURE_NONE ((struct pressure){ .fd = -1, .file_fd = -1, .trigger_fd = -1 })

/* p is closed. 0: p->fd tells, or is -1 and pressure_read() does. -ENOENT: the kernel has no PSI, or
 * it was switched off (psi=0, cgroup.pressure). Other negative errno. */
int pressure_open(struct pressure *p);
/* fd is readable: 1: there was pressure, 0: there was none. -ENODEV: the group is gone, fd stays
 * readable for ever: stop waiting, pressure_close(), and pressure_open() again later. */
int pressure_take(struct pressure *p);
/* What the file says now. 0; -ENODEV as above; -EOPNOTSUPP: switched off meanwhile; -EBADMSG. */
int pressure_read(const struct pressure *p, struct proctext_pressure *ret);
void pressure_close(struct pressure *p);

#endif
