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

/*
 * seccomp WHAT FLAGS COUNT OFFSET [SOCKET PART...]: loads the filter as late as possible, since the filter
 * holds for the rest of the plan, too. Where the filter has a listener, a second process sends the
 * listener over SOCKET. That process shares the descriptors but not the filter, which may forbid to send.
 * With the listener goes a text: the parts, and between them this process's id, as ringlet sees it.
 */
void step_seccomp(void)
{
	unsigned long flags = number();
	struct sock_fprog filter = { .len = number() };
	char *word;
	long listener;
	int pid = 0, line_to[2], sends, socket = -1;
	long parent = sys(getpid);

	filter.filter = (void *)(blob + number());
	word = optional();
	sends = word != NULL;
	if (sends) {
		static char data[1 << 16];
		int fd;
		char own[24] = "";

		socket = parse(word);
		append_number(own, sizeof(own), outer_pid);
		append(data, sizeof(data), text());
		while ((word = optional())) {
			append(data, sizeof(data), own);
			append(data, sizeof(data), word);
		}
		if (length(data) + 1 == sizeof(data))
			fail("the state is too long", E2BIG);

		must(sys(pipe2, line_to, O_CLOEXEC), "pipe");
		pid = must(sys(clone, CLONE_FILES, 0, 0, 0, 0), "clone");
		if (!pid) { /* it ends with the one that has the filter */
			must(sys(prctl, PR_SET_PDEATHSIG, SIGKILL), "prctl");
			if (sys(getppid) != parent)
				sys(exit_group, 1);
			if (sys(read, line_to[0], &fd, sizeof(fd)) == sizeof(fd))
				send_fd(socket, fd, data);
			sys(exit_group, 0);
		}
	}
	listener = must(sys(seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter), "seccomp");
	if (sends) {
		int fd = listener, status;

		must(sys(write, line_to[1], &fd, sizeof(fd)), "write");
		sys(wait4, pid, &status, __WALL, NULL);
		/* As in `close`: the socket, the listener, the pipe. */
		sys(close, socket);
		sys(close, listener);
		sys(close, line_to[0]);
		sys(close, line_to[1]);
	}
}
