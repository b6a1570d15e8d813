/*
 * say.c: messages for the person who watches the guest's console.
 */
#include <stdarg.h>
#include <stdio.h>

#include "init.h"

void say(const char *format, ...)
{
	va_list arguments;

	fputs("ringlet init: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
}
