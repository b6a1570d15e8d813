/*
 * stdio.c: the host's side of the command's streams.
 *
 *   console  /dev/console
 *   uart     input and output /dev/ttyS1, errors /dev/ttyS2
 *   ports    virtio-serial ports: ringlet.stdin, .stdout, .stderr and .control
 *
 * None of them blocks.
 *
 * Source: termios(3); Virtual I/O Device 1.2, 5.3; Linux, drivers/char/virtio_console.c (a port
 * whose host side isn't connected polls as hung up).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "init.h"

#ifndef TIOCM_OUT1 /* of the kernel's <asm/termios.h>, which the C library's can't stand beside */
#define TIOCM_OUT1 0x2000
#endif

#define OPEN_FLAGS (O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC)

static int open_device(const char *path)
{
	int fd = open(path, OPEN_FLAGS);

	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	return fd;
}

static void make_raw(int fd, tcflag_t control)
{
	struct termios mode;

	if (tcgetattr(fd, &mode) < 0)
		die("a serial line isn't there: %s", strerror(errno));
	cfmakeraw(&mode);
	mode.c_cflag |= control;
	if (tcsetattr(fd, TCSANOW, &mode) < 0)
		die("a serial line's mode: %s", strerror(errno));
}

static int open_uart(const char *path)
{
	int fd = open_device(path);
	int out1 = TIOCM_OUT1;

	/* With RTS, the kernel holds the host back while nobody reads here. */
	make_raw(fd, CRTSCTS | CLOCAL);
	/* By OUT1 the host knows that from now on nothing is lost or taken for a control character. */
	tcflush(fd, TCIFLUSH);
	if (ioctl(fd, TIOCMBIS, &out1) < 0)
		die("%s: OUT1: %s", path, strerror(errno));
	return fd;
}

static bool is_named(int folder, const char *port, const char *name)
{
	char file[300], line[64];
	ssize_t size;
	int fd;

	snprintf(file, sizeof(file), "%s/name", port);
	fd = openat(folder, file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	size = read(fd, line, sizeof(line));
	close(fd);
	return size == (ssize_t)strlen(name) + 1 && !memcmp(line, name, size - 1);
}

/* Whether there is a port of that name; `path` becomes its device's. */
static bool find_port(const char *name, char *path, size_t size)
{
	DIR *ports = opendir("/sys/class/virtio-ports");
	struct dirent *port = NULL;

	if (!ports)
		return false;
	while ((port = readdir(ports)))
		if (is_named(dirfd(ports), port->d_name, name)) {
			snprintf(path, size, "/dev/%s", port->d_name);
			break;
		}
	closedir(ports);
	return port;
}

/* The driver hears of its ports, and that the host has connected, one message at a time. */
static int open_port(const char *name)
{
	struct pollfd port = { .events = POLLOUT };
	char path[300];
	int tries = 4000; /* 20 seconds, for a slow machine */

	while (!find_port(name, path, sizeof(path))) {
		if (!tries--)
			die("there is no virtio-serial port %s", name);
		system_pause();
	}
	port.fd = open_device(path);
	while (poll(&port, 1, 0) < 0 || (port.revents & POLLHUP)) {
		if (!tries--)
			die("the host isn't connected to the port %s", name);
		system_pause();
	}
	return port.fd;
}

void host_open(struct host *host, const struct plan *plan)
{
	host->control = -1;
	host->is_stuffed = plan->stdio == STDIO_UART;
	switch (plan->stdio) {
	case STDIO_CONSOLE:
		host->input = host->output = host->errors = open_device("/dev/console");
		if (plan->has_terminal)
			make_raw(host->input, 0);
		break;
	case STDIO_UART:
		host->input = host->output = open_uart("/dev/ttyS1");
		host->errors = open_uart("/dev/ttyS2");
		break;
	case STDIO_PORTS:
		host->control = open_port("ringlet.control");
		host->input = open_port("ringlet.stdin");
		host->output = open_port("ringlet.stdout");
		host->errors = open_port("ringlet.stderr");
		break;
	}
}
