/*
 * hooks.c: runs hooks in the container's namespaces.
 *
 * Source: OCI Runtime Specification 1.3, config.md, "POSIX-platform Hooks".
 */
#include "container.h"

#include <linux/prctl.h>
#include <poll.h>
#include <signal.h>
#include <time.h>

#define HOOK_SAYS 256 /* bytes of what a hook printed last, for the report */

/*
 * Waits until the hook has ended, and returns its status; or until its time is over, and returns -1.
 * `says` becomes what the hook printed last.
 */
static int wait_for_hook(int pid, int output, long milliseconds, char says[HOOK_SAYS])
{
	int status = 0, pidfd = must(sys(pidfd_open, pid, 0), "pidfd_open"), late = 0;
	struct pollfd ready[2] = { { .fd = pidfd, .events = POLLIN }, { .fd = output, .events = POLLIN } };
	struct timespec now, until;

	sys(clock_gettime, CLOCK_MONOTONIC, &now);
	until = now;
	until.tv_sec += milliseconds / 1000;
	while (!ready[0].revents) {
		long left = (until.tv_sec - now.tv_sec) * 1000 + (until.tv_nsec - now.tv_nsec) / 1000000;
		long size;

		if (milliseconds >= 0 && left <= 0) {
			sys(kill, pid, SIGKILL);
			late = 1;
			break;
		}
		sys(poll, ready, 2, milliseconds < 0 ? -1 : left);
		if (ready[1].revents) {
			char printed[HOOK_SAYS];

			size = sys(read, output, printed, sizeof(printed) - 1);
			if (size <= 0) {
				ready[1].fd = -1;
			} else {
				size_t end = length(says);

				if (end + size >= HOOK_SAYS)
					end = 0; /* what it printed before makes room */
				memcpy(says + end, printed, size);
				says[end + size] = '\0';
			}
		}
		sys(clock_gettime, CLOCK_MONOTONIC, &now);
	}
	sys(wait4, pid, &status, 0, NULL);
	close_fd(&pidfd);
	return late ? -1 : status;
}

/*
 * hook POINT PATH MILLISECONDS STATE COUNT ARGUMENT... VARIABLE...: STATE is the state's JSON up to the
 * process id, which is the one that the container sees. A hook gets none of the container's streams. A
 * program of the image's (startContainer) runs when all rights but the command's are gone.
 */
void step_hook(void)
{
	const char *path = text();
	long milliseconds = signed_number();
	const char *state = text();
	unsigned long count = number();
	char **arguments = words_until_end(count), **environment = words_until_end(WORDS_MAX);
	char json[24] = "", says[HOOK_SAYS + 64] = "";
	int input = must(sys(memfd_create, "state", 1 /* MFD_CLOEXEC */), "memfd_create");
	int output[2], failed[2], pid, status, error = 0;

	append_number(json, sizeof(json), sys(getpid));
	append(json, sizeof(json), "}");
	must(sys(write, input, state, length(state)), "write");
	must(sys(write, input, json, length(json)), "write");
	must(sys(lseek, input, 0, SEEK_SET), "lseek");
	must(sys(pipe2, output, O_CLOEXEC), "pipe");
	must(sys(pipe2, failed, O_CLOEXEC), "pipe");
	pid = must(sys(clone, SIGCHLD, 0, 0, 0, 0), "clone"); /* which a filter may know: clone3 it can't */
	if (!pid) {
		sys(prctl, PR_SET_PDEATHSIG, SIGKILL);
		if (!same(what, "startContainer"))
			sys(umask, starters_umask);
		sys(dup2, input, 0);
		sys(dup2, output[1], 1);
		sys(dup2, output[1], 2);
		sys(dup2, failed[1], 3);
		sys(fcntl, 3, F_SETFD, FD_CLOEXEC);
		error = -(int)sys(close_range, 4, ~0U, 0);
		if (!error)
			error = -(int)sys(execve, path, arguments, environment);
		sys(write, 3, &error, sizeof(error));
		sys(exit_group, 127);
	}
	close_fd(&input);
	close_fd(&output[1]);
	close_fd(&failed[1]);
	status = wait_for_hook(pid, output[0], milliseconds, says);
	if (sys(read, failed[0], &error, sizeof(error)) == sizeof(error))
		must_on(-error, "execve", path);
	close_fd(&failed[0]);
	close_fd(&output[0]);
	if (status == -1)
		fail("it took too long", ETIMEDOUT);
	if (status) {
		char reason[HOOK_SAYS + 64] = "it failed";

		if (*says) {
			append(reason, sizeof(reason), ": ");
			append(reason, sizeof(reason), says);
		}
		fail(reason, ECANCELED);
	}
}
