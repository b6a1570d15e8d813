/*
 * disk.c: holes and zeros in a disk's image.
 *
 * Source: fallocate(2).
 */
#define _GNU_SOURCE
#include <fcntl.h>

#include "internal.h"

int ringlet_fallocate(int fd, int mode, uint64_t offset, uint64_t length)
{
	int result;

	do {
		result = fallocate(fd, mode, (off_t)offset, (off_t)length);
	} while (result < 0 && errno == EINTR);
	return result < 0 ? -errno : 0;
}
