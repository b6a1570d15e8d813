/* internal.h: what the C files share among themselves. */
#ifndef RINGLET_INTERNAL_H
#define RINGLET_INTERNAL_H

#include <errno.h>
#include <sys/ioctl.h>

#include "ringlet.h"

static inline int ringlet_ioctl(int fd, unsigned long request, const void *argument)
{
	int result = ioctl(fd, request, argument);

	return result < 0 ? -errno : result;
}

/* Around KVM_RUN (kick.c): from enter on, a kick or tick of this thread reaches the vCPU. */
void ringlet_kick_enter(struct ringlet_vcpu *vcpu);
void ringlet_kick_leave(void);

#endif
