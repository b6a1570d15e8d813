/*
 * peer.c: what a container's root with CAP_SYS_PTRACE reaches by a socket that is its standard input.
 *
 * Prints `reached PATH` for each descriptor of the process that has made the other end.
 *
 * Source: unix(7), SO_PEERPIDFD; pidfd_getfd(2).
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

int main(void)
{
	int peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(0, SOL_SOCKET, SO_PEERPIDFD, &peer, &size)) {
		perror("SO_PEERPIDFD");
		return 1;
	}
	for (int fd = 0; fd < 100; fd++) {
		char path[64], target[4096] = "";
		int taken = syscall(SYS_pidfd_getfd, peer, fd, 0);

		if (taken < 0)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", taken);
		if (readlink(path, target, sizeof(target) - 1) > 0)
			printf("reached %s\n", target);
	}
	return 0;
}
