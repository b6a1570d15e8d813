/*
 * terminal.c: a crash of ringlet gives the terminal back.
 *
 * Python restores the terminal on every orderly way out. A fault in C ends the process with
 * no Python: these handlers put the mode back and let the signal do what it did before.
 *
 * Source: signal-safety(7), where tcsetattr, tcgetpgrp, getpgrp, sigaction and raise stand.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include "internal.h"

static const int faults[] = { SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE };

#define FAULTS (sizeof(faults) / sizeof(faults[0]))

static int guarded = -1; /* the terminal */
static struct termios mode;
static struct sigaction previous[FAULTS];

static void on_fault(int number)
{
	/* In the background the terminal is someone else's, and tcsetattr would stop us. */
	if (tcgetpgrp(guarded) == getpgrp())
		tcsetattr(guarded, TCSANOW, &mode);
	for (size_t i = 0; i < FAULTS; i++)
		if (faults[i] == number)
			sigaction(number, &previous[i], NULL);
	raise(number); /* blocked in here: it comes as the handler returns */
}

int ringlet_terminal_guard(int fd)
{
	struct sigaction mine = { .sa_handler = on_fault, .sa_flags = SA_ONSTACK };

	ringlet_terminal_unguard();
	if (tcgetattr(fd, &mode) < 0)
		return -errno;
	guarded = fd;
	sigemptyset(&mine.sa_mask);
	for (size_t i = 0; i < FAULTS; i++)
		sigaction(faults[i], &mine, &previous[i]);
	return 0;
}

void ringlet_terminal_unguard(void)
{
	struct sigaction now;

	if (guarded < 0)
		return;
	for (size_t i = 0; i < FAULTS; i++)
		/* Unless someone has put a handler over ours. */
		if (sigaction(faults[i], NULL, &now) == 0 && now.sa_handler == on_fault)
			sigaction(faults[i], &previous[i], NULL);
	guarded = -1;
}
