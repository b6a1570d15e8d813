/*
 * die.c: the end of the machine; also where init can't go on, of which the host hears.
 *
 * Source: reboot(2).
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "init.h"

static int told = -1; /* the control port that hears of a failure */

void die_tells(int control)
{
	told = control;
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

void power_off(void)
{
	if (getpid() != 1) /* a try of this program: the machine is somebody's */
		_exit(EXIT_FAILURE);
	sync();
	reboot(RB_POWER_OFF);
	pause(); /* process 1 must not end */
	abort();
}
