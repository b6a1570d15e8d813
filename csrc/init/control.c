/*
 * control.c: the lines that go over ringlet.control.
 *
 *   ready                      init is there
 *   started                    the command runs
 *   status N OUTPUT ERRORS     it has ended, after so many bytes of each
 *   failed MESSAGE             init could not run it
 *
 *   signal N                   for the command's process group
 *   winsize ROWS COLUMNS       of its terminal
 *   stdin-end SIZE             its input ends after so many bytes in all
 *
 * After `status` or `failed` the host reads what is left of the streams, and hangs up.
 *
 * The sizes are there since each port is a stream of its own: what is sent last on one can come
 * before what was sent first on another.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "init.h"

void control_say(int fd, const char *format, ...)
{
	struct pollfd writable = { .fd = fd, .events = POLLOUT };
	char line[512];
	size_t size, done = 0;
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	size = strlen(line);
	for (size_t i = 0; i < size; i++)
		if (line[i] == '\n')
			line[i] = ' ';
	line[size - 1] = '\n'; /* also of one that was cut */
	while (done < size) {
		ssize_t count = write(fd, line + done, size - done);

		if (count > 0)
			done += count;
		else if (errno != EAGAIN || poll(&writable, 1, -1) < 0 ||
			 !(writable.revents & POLLOUT))
			return; /* there is no host any more */
	}
}

/* Takes in what has come; false if the host has gone, or speaks another language. */
bool control_read(struct control *control)
{
	ssize_t count = read(control->fd, control->line + control->size,
			     sizeof(control->line) - 1 - control->size);

	if (count < 0)
		return errno == EAGAIN || errno == EINTR;
	control->size += count;
	control->line[control->size] = '\0';
	return count > 0;
}

static bool parse(const char *line, struct request *request)
{
	char end;

	if (sscanf(line, "signal %d%c", &request->signal, &end) == 1)
		request->kind = REQUEST_SIGNAL;
	else if (sscanf(line, "winsize %hu %hu%c", &request->window.ws_row,
			&request->window.ws_col, &end) == 2)
		request->kind = REQUEST_WINDOW;
	else if (sscanf(line, "stdin-end %" SCNu64 "%c", &request->size, &end) == 1)
		request->kind = REQUEST_INPUT_END;
	else
		return false;
	return true;
}

/* The next complete line, if there is one. */
bool control_next(struct control *control, struct request *request)
{
	char *newline;

	memset(request, 0, sizeof(*request));
	while ((newline = memchr(control->line, '\n', control->size))) {
		size_t size = newline + 1 - control->line;
		bool known;

		*newline = '\0';
		known = parse(control->line, request);
		if (!known)
			say("control: not known: %s", control->line);
		control->size -= size;
		memmove(control->line, newline + 1, control->size);
		if (known)
			return true;
	}
	return false;
}

/* Until the host has gone. */
void control_wait_for_end(int fd)
{
	struct pollfd readable = { .fd = fd, .events = POLLIN };
	char ignored[64];

	while (poll(&readable, 1, -1) > 0) {
		ssize_t size = read(fd, ignored, sizeof(ignored));

		if (size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR))
			return;
	}
}
