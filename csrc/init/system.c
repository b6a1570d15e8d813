/*
 * system.c: what else programs expect of a running system, and a pause while it comes up.
 *
 * Source: sethostname(2), netdevice(7).
 */
#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "init.h"

void system_name(const char *hostname)
{
	if (sethostname(hostname, strlen(hostname)) < 0)
		die("hostname %s: %s", hostname, strerror(errno));
}

/* A kernel without a network has no loopback interface either. */
void system_loopback(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		say("the loopback interface: %s", strerror(errno));
	close(fd);
}

/* A tick of waiting: 5 ms. */
void system_pause(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
}
