/*
 * copyup.c: what a folder holds, copied into the mount that will cover it.
 */
#include "container.h"

#include <linux/magic.h>

static void copy_file(int from, int to, const char *name, struct stat *status);

/* Copies the entries of the folder `from` into `to`; both are in the container. */
static void copy_folder(int from, int to, int depth)
{
	char entries[4096];
	long size;

	if (depth > 100)
		fail("copying: too deep", ELOOP);
	if (is_on(from, PROC_SUPER_MAGIC) || is_on(from, SYSFS_MAGIC)) /* by a link of the image's */
		fail("copying: what is there is the kernel's", EINVAL);
	while ((size = must(sys(getdents64, from, entries, sizeof(entries)), "getdents")) > 0) {
		for (long at = 0; at < size;) {
			struct {
				uint64_t inode, offset;
				uint16_t size;
				uint8_t type;
				char name[];
			} *entry = (void *)(entries + at);
			struct stat status;
			int source, copy;

			at += entry->size;
			if (same(entry->name, ".") || same(entry->name, ".."))
				continue;
			must_on(sys(newfstatat, from, entry->name, &status, AT_SYMLINK_NOFOLLOW), "stat",
				entry->name);
			if (!S_ISDIR(status.st_mode)) {
				copy_file(from, to, entry->name, &status);
				continue;
			}
			must_on(sys(mkdirat, to, entry->name, 0700), "mkdir", entry->name);
			source = must_on(sys(openat, from, entry->name,
					     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
					 "open", entry->name);
			/* Of what was opened: the name may be another folder's by now. */
			must_on(sys(fstat, source, &status), "stat", entry->name);
			copy = must_on(sys(openat, to, entry->name,
					   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
				       "open", entry->name);
			copy_folder(source, copy, depth + 1);
			must_on(sys(fchown, copy, status.st_uid, status.st_gid), "chown", entry->name);
			must_on(sys(fchmod, copy, status.st_mode & 07777), "chmod", entry->name);
			close_fd(&source);
			close_fd(&copy);
		}
	}
}

/* Opens the descriptor's file once more, to be read or written: no path can lead elsewhere. */
static long open_again(int fd, int flags)
{
	char path[64] = "self/fd/";

	append_number(path, sizeof(path), fd);
	return sys(openat, host_proc, path, flags | O_CLOEXEC);
}

static void copy_file(int from, int to, const char *name, struct stat *status)
{
	char target[PATH_SIZE];
	long size;
	int found, source, copy;

	if (S_ISLNK(status->st_mode)) {
		size = must_on(sys(readlinkat, from, name, target, sizeof(target) - 1), "readlink", name);
		target[size] = '\0';
		must_on(sys(symlinkat, target, to, name), "symlink", name);
		must_on(sys(fchownat, to, name, status->st_uid, status->st_gid, AT_SYMLINK_NOFOLLOW),
			"chown", name);
		return;
	}
	if (!S_ISREG(status->st_mode)) {
		if (has_no_devices(from) && (S_ISCHR(status->st_mode) || S_ISBLK(status->st_mode)))
			return; /* it is none there, and the copy would be one */
		must_on(sys(mknodat, to, name, status->st_mode, status->st_rdev), "mknod", name);
		must_on(sys(fchownat, to, name, status->st_uid, status->st_gid, AT_SYMLINK_NOFOLLOW),
			"chown", name);
		return;
	}
	/* To open a device, or a pipe, would do something: what is there now, is it still a file? */
	found = must_on(sys(openat, from, name, O_PATH | O_NOFOLLOW | O_CLOEXEC), "open", name);
	must_on(sys(fstat, found, status), "stat", name);
	if (!S_ISREG(status->st_mode))
		fail("it changes meanwhile", EAGAIN);
	source = must_on(open_again(found, O_RDONLY), "open", name);
	close_fd(&found);
	copy = must_on(sys(openat, to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), "make",
		       name);
	while ((size = must_on(sys(sendfile, copy, source, NULL, 1 << 20), "copy", name)) > 0)
		;
	must_on(sys(fchown, copy, status->st_uid, status->st_gid), "chown", name);
	must_on(sys(fchmod, copy, status->st_mode & 07777), "chmod", name);
	close_fd(&source);
	close_fd(&copy);
}

/* copyup TARGET SLOT: copies what the folder TARGET holds into the mount that will cover it. */
void step_copyup(void)
{
	int to = must(sys(openat, *mount_slot(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open");
	long from = lookup(what, O_RDONLY | O_DIRECTORY, 0);
	struct stat status;

	if (from == -ENOENT) {
		close_fd(&to);
		return;
	}
	must(from, "open");
	copy_folder(from, to, 0);
	must(sys(fstat, from, &status), "stat");
	must(sys(fchown, to, status.st_uid, status.st_gid), "chown");
	must(sys(fchmod, to, status.st_mode & 07777), "chmod");
	sys(close, from);
	close_fd(&to);
}
