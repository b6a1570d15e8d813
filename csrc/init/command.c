/*
 * command.c: starts the command, in a session of its own.
 *
 * Source: setsid(2), pty(7), credentials(7); POSIX, Shell Command Language, 2.8.2 (126 and 127).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init.h"

#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum { OURS, ITS };

static void make_pipe(int ends[2], int ours)
{
	int both[2];

	if (pipe2(both, O_CLOEXEC) < 0 || fcntl(both[ours], F_SETFL, O_NONBLOCK) < 0)
		die("a pipe: %s", strerror(errno));
	ends[OURS] = both[ours];
	ends[ITS] = both[!ours];
}

static void make_terminal(int ends[2], struct winsize *window)
{
	int ours = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

	if (ours < 0 || grantpt(ours) < 0 || unlockpt(ours) < 0)
		die("a pseudo-terminal: %s", strerror(errno));
	ends[OURS] = ours;
	ends[ITS] = ioctl(ours, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (ends[ITS] < 0 || ioctl(ours, TIOCSWINSZ, window) < 0)
		die("a pseudo-terminal: %s", strerror(errno));
}

static void make_environment(const struct plan *plan)
{
	clearenv();
	putenv(DEFAULT_PATH);
	for (char **variable = plan->environment; *variable; variable++)
		if (!strchr(*variable, '=') || putenv(*variable))
			die("plan: not NAME=VALUE: %s", *variable);
}

static void become_user(const struct plan *plan)
{
	/* So that it can open /dev/stdin, /dev/stdout and /dev/stderr. */
	for (int fd = 0; fd <= 2; fd++)
		if (fchown(fd, plan->user, -1) < 0)
			say("stream %d: %s", fd, strerror(errno));
	chmod("/dev/kvm", 0666); /* where udev gives it to a group; there may be none */
	if (setgroups(plan->group_count, plan->groups) < 0 || setgid(plan->group) < 0 ||
	    setuid(plan->user) < 0) {
		say("user %u: %s", plan->user, strerror(errno));
		_exit(126);
	}
}

static void __attribute__((noreturn)) become_command(const struct plan *plan, const int fds[3])
{
	sigset_t none;

	setsid();
	for (int fd = 0; fd <= 2; fd++)
		dup2(fds[fd], fd);
	if (plan->has_terminal)
		ioctl(0, TIOCSCTTY, 0);
	if (plan->has_user)
		become_user(plan);
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvp(plan->arguments[0], plan->arguments);
	fprintf(stderr, "ringlet: %s: %s\n", plan->arguments[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

void command_start(struct command *command, const struct plan *plan)
{
	int input[2], output[2], errors[2] = { -1, -1 }, running[2];
	char byte;

	make_environment(plan);
	if (plan->folder && chdir(plan->folder) < 0)
		die("the folder %s: %s", plan->folder, strerror(errno));
	if (plan->has_terminal) {
		make_terminal(input, (struct winsize *)&plan->window);
		output[OURS] = fcntl(input[OURS], F_DUPFD_CLOEXEC, 0);
		output[ITS] = input[ITS];
	} else {
		make_pipe(input, 1);
		make_pipe(output, 0);
		make_pipe(errors, 0);
	}
	if (pipe2(running, O_CLOEXEC) < 0)
		die("a pipe: %s", strerror(errno));
	command->pid = fork();
	if (command->pid < 0)
		die("a process: %s", strerror(errno));
	if (command->pid == 0)
		become_command(plan, (int[]){ input[ITS], output[ITS],
					      plan->has_terminal ? input[ITS] : errors[ITS] });
	close(input[ITS]);
	if (!plan->has_terminal) {
		close(output[ITS]);
		close(errors[ITS]);
	}
	/* Until it runs, or has failed to: before that it has no session to send signals to. */
	close(running[1]);
	while (read(running[0], &byte, 1) < 0 && errno == EINTR)
		;
	close(running[0]);
	command->input = input[OURS];
	command->output = output[OURS];
	command->errors = errors[OURS];
	command->terminal = plan->has_terminal ? input[OURS] : -1;
}
