/*
 * status.c: how it all ends.
 *
 *   port      the status is written to the exit port, which ends the machine
 *   control   it goes to ringlet.control; then the host says when, by hanging up
 *
 * Where the command can't be run at all, there is a message and no status.
 *
 * Source: ioperm(2), reboot(2); QEMU, docs/specs (isa-debug-exit).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/reboot.h>
#include <termios.h>
#include <unistd.h>

#include "init.h"

#define EXIT_PORT 0xf4

static int told = -1; /* the control port that hears of a failure */

static void write_port(int status)
{
	if (ioperm(EXIT_PORT, 1, 1) < 0)
		say("the exit port: %s", strerror(errno));
	else
		outb(status, EXIT_PORT);
}

void status_report(const struct plan *plan, const struct host *host, const struct outcome *outcome)
{
	/* After this, the machine may be gone at any moment. */
	mount_settle();
	sync();
	tcdrain(host->output); /* of what isn't a terminal, an error */
	tcdrain(host->errors);
	switch (plan->status) {
	case STATUS_NONE:
		break;
	case STATUS_PORT:
		write_port(outcome->status);
		break;
	case STATUS_CONTROL:
		control_say(host->control, "status %d %" PRIu64 " %" PRIu64 "\n", outcome->status,
			    outcome->output_size, outcome->errors_size);
		control_wait_for_end(host->control);
		break;
	}
}

void say(const char *format, ...)
{
	va_list arguments;

	fputs("ringlet init: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
}

void die(const char *format, ...)
{
	char message[400];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	say("%s", message);
	if (told >= 0) {
		control_say(told, "failed %s\n", message);
		control_wait_for_end(told);
	}
	power_off();
}

void die_tells(int control)
{
	told = control;
}

void power_off(void)
{
	if (getpid() != 1) /* a try of this program: the machine is somebody's */
		_exit(EXIT_FAILURE);
	sync();
	reboot(RB_POWER_OFF);
	pause(); /* process 1 must not end */
	abort();
}
