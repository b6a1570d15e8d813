/*
 * files.c: small operations on files and descriptors, which several steps need.
 */
#include "container.h"

#include <linux/openat2.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

int host_proc = -1;

void close_fd(int *fd)
{
	if (*fd >= 0)
		sys(close, *fd);
	*fd = -1;
}

void write_file(int folder, const char *path, const char *content)
{
	int fd = must_on(sys(openat, folder, path, O_WRONLY | O_CLOEXEC), "open", path);

	must_on(sys(write, fd, content, length(content)), "write to", path);
	close_fd(&fd);
}

/* Major numbers have 12 bits, minor ones 20. */
dev_t make_device(unsigned major, unsigned minor)
{
	return (minor & 0xff) | (dev_t)(major & 0xfff) << 8 | (dev_t)(minor & 0xfff00) << 12;
}

int is_type(int fd, mode_t type)
{
	struct stat status;

	must(sys(fstat, fd, &status), "fstat");
	return (status.st_mode & S_IFMT) == type;
}

int is_device(int fd, mode_t type, dev_t device)
{
	struct stat status;

	must(sys(fstat, fd, &status), "fstat");
	return (status.st_mode & S_IFMT) == type && status.st_rdev == device;
}

int is_on(int fd, long magic)
{
	struct statfs status;

	must(sys(fstatfs, fd, &status), "fstatfs");
	return status.f_type == magic;
}

int is_same_file(int one, int other)
{
	struct stat first, second;

	must(sys(fstat, one, &first), "fstat");
	must(sys(fstat, other, &second), "fstat");
	return first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

int has_no_devices(int fd)
{
	struct statfs status;

	must(sys(fstatfs, fd, &status), "fstatfs");
	return !!(status.f_flags & ST_NODEV);
}

/* The file is surely of procfs: no mount over it is entered, no link is followed. */
int open_proc(const char *path, int flags)
{
	struct open_how how = {
		.flags = (unsigned)flags | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS,
	};

	return must_on(sys(openat2, host_proc, path, &how, sizeof(how)), "open /proc/", path);
}

void write_proc(const char *path, const char *content)
{
	int fd = open_proc(path, O_WRONLY);

	must_on(sys(write, fd, content, length(content)), "write to /proc/", path);
	close_fd(&fd);
}

/* Reads the link /proc/self, since open_proc follows no link. */
void own_path(char path[PATH_SIZE], const char *name)
{
	long size = must(sys(readlinkat, host_proc, "self", path, PATH_SIZE - 1), "/proc/self");

	path[size] = '\0';
	append(path, PATH_SIZE, "/");
	append(path, PATH_SIZE, name);
}

void write_own(const char *name, const char *content)
{
	char path[PATH_SIZE];

	own_path(path, name);
	write_proc(path, content);
}

void send_fd(int socket, int fd, const char *name)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} message = { 0 };
	struct iovec data = { (void *)name, length(name) };
	struct msghdr packet = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = &message,
		.msg_controllen = sizeof(message),
	};

	message.header.cmsg_level = SOL_SOCKET;
	message.header.cmsg_type = SCM_RIGHTS;
	message.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&message.header), &fd, sizeof(fd));
	must(sys(sendmsg, socket, &packet, MSG_NOSIGNAL), "sendmsg");
}
