/*
 * seccomp.c: the filter of system calls.
 *
 * Source: seccomp(2), seccomp_unotify(2).
 */
#include "container.h"

#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/wait.h>

static long load(unsigned long flags, const struct sock_fprog *filter)
{
	return must(sys(seccomp, SECCOMP_SET_MODE_FILTER, flags, filter), "seccomp");
}

/*
 * Loads the filter; a second process, which shares the descriptors but not the filter, sends the
 * listener. It says when that is done, since the filter may forbid to wait for it.
 */
static int load_while_another_sends(unsigned long flags, const struct sock_fprog *filter, int socket)
{
	int fd, pid, status, to[2], back[2];
	long parent = sys(getpid);
	char done;

	must(sys(pipe2, to, O_CLOEXEC), "pipe");
	must(sys(pipe2, back, O_CLOEXEC), "pipe");
	pid = must(sys(clone, CLONE_FILES, 0, 0, 0, 0), "clone");
	if (!pid) { /* it ends with the one that has the filter */
		must(sys(prctl, PR_SET_PDEATHSIG, SIGKILL), "prctl");
		if (sys(getppid) != parent)
			sys(exit_group, 1);
		if (sys(read, to[0], &fd, sizeof(fd)) == sizeof(fd))
			send_fd(socket, fd, "L");
		sys(write, back[1], "", 1);
		sys(exit_group, 0);
	}
	fd = load(flags, filter);
	must(sys(write, to[1], &fd, sizeof(fd)), "write");
	must(sys(read, back[0], &done, 1), "read");
	sys(wait4, pid, &status, __WALL, NULL);
	sys(close, to[0]);
	sys(close, to[1]);
	sys(close, back[0]);
	sys(close, back[1]);
	return fd;
}

/*
 * seccomp WHAT FLAGS COUNT OFFSET [SOCKET ITSELF]: loads the filter, which holds for the rest of the plan,
 * too. If the filter has a listener, ringlet gets the listener over SOCKET. This process sends it where
 * ITSELF is 1, else a second process: the filter may forbid to send. No process of the container has
 * the socket, nor the listener: as in `close`.
 */
void step_seccomp(void)
{
	unsigned long flags = number();
	struct sock_fprog filter = { .len = number() };
	int socket, listener;

	filter.filter = (void *)(blob + number());
	if (!line) {
		load(flags, &filter);
		return;
	}
	socket = number();
	if (number()) {
		listener = load(flags, &filter);
		send_fd(socket, listener, "L");
	} else {
		listener = load_while_another_sends(flags, &filter, socket);
	}
	sys(close, socket);
	sys(close, listener);
}
