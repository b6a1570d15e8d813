/*
 * devices.c: devices and links, in file systems of the container's own.
 *
 * Source: mknod(2); OCI Runtime Specification 1.3, config-linux.md, "Devices".
 */
#include "container.h"

#include <linux/mount.h>

#define SYS_fchmodat2 452 /* Linux 6.6 */

/* The folder that `path` is in, made if it isn't there; *name is where its last part begins. */
static int make_parent(const char *path, const char **name)
{
	char folder[PATH_SIZE] = "";
	char *slash;
	long fd;

	append(folder, sizeof(folder), path);
	slash = find_last(folder, '/');
	if (!slash || length(path) >= sizeof(folder))
		fail("no path", EINVAL);
	*name = path + (slash - folder) + 1;
	*slash = '\0';
	fd = lookup(folder, O_PATH | O_DIRECTORY, 0);
	return fd >= 0 ? fd : make(folder, S_IFDIR);
}

int own_parent(const char *path, const char **name)
{
	char folder[PATH_SIZE] = "";
	char *slash;
	int parent;
	long fd = -ENOENT;

	if (length(path) >= sizeof(folder))
		fail("the path is too long", ENAMETOOLONG);
	append(folder, sizeof(folder), path);
	while (fd == -ENOENT && (slash = find_last(folder, '/'))) {
		*slash = '\0';
		fd = lookup(*folder ? folder : "/", O_PATH | O_DIRECTORY, 0);
	}
	must(fd, "open");
	parent = is_own(fd) ? make_parent(path, name) : -1;
	sys(close, fd);
	if (parent >= 0 && !is_own(parent)) /* it was renamed, or is a link, meanwhile */
		close_fd(&parent);
	return parent;
}

/* Whether there is this device at `path`; with what mode, and whose, is its file system's business. */
static int has_device(const char *path, mode_t type, dev_t device)
{
	long fd = lookup(path, O_PATH | O_NOFOLLOW, 0);
	int is_it = fd >= 0 && is_device(fd, type, device);

	if (fd >= 0)
		sys(close, fd);
	return is_it;
}

/*
 * A device that is mounted read-only is read and written as ever, but its mode and owner, which are the
 * host's, stay. Else the container's root could change them, where it owns the device.
 */
void keep_inode(int mount)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
	};

	must(sys(mount_setattr, mount, "", AT_EMPTY_PATH, &attr, sizeof(attr)), "mount_setattr");
}

/* Changes the mode of a descriptor's file: a path in a folder of others could lead elsewhere. */
static long change_mode(int fd, mode_t mode)
{
	long result = sys(fchmodat2, fd, "", mode, AT_EMPTY_PATH);

	if (result == -ENOSYS || result == -EPERM) { /* a filter around us may not know the call */
		char path[64] = "self/fd/";

		append_number(path, sizeof(path), fd);
		result = sys(fchmodat, host_proc, path, mode);
	}
	return result;
}

/*
 * node PATH SLOT MAJOR MINOR MODE UID GID: makes a character device that `device` mounts, in a tmpfs of its
 * own. A user namespace can't make one, and the host's may be the host's root's alone. Where this process
 * may not make one either, SLOT stays empty.
 */
void step_node(void)
{
	int *slot = mount_slot(), fs = must(sys(fsopen, "tmpfs", FSOPEN_CLOEXEC), "fsopen tmpfs"), tmpfs;
	unsigned major = number(), minor = number();
	mode_t bits = number();
	unsigned uid = number(), gid = number();
	long result;

	must_fs(fs, sys(fsconfig, fs, FSCONFIG_SET_STRING, "mode", "755", 0), "mode=", "755");
	must_fs(fs, sys(fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0), "making ", "tmpfs");
	tmpfs = must(sys(fsmount, fs, FSMOUNT_CLOEXEC, 0), "fsmount");
	close_fd(&fs);
	result = sys(mknodat, tmpfs, "device", S_IFCHR | bits, make_device(major, minor));
	if (result == -EPERM) {
		close_fd(&tmpfs);
		return;
	}
	must(result, "mknod");
	must(sys(fchownat, tmpfs, "device", uid, gid, AT_SYMLINK_NOFOLLOW), "chown");
	*slot = tmpfs;
}

/*
 * The device that `node` has made, as a tree of its own. A tree is copied only from where it is mounted
 * before Linux 6.15: it is mounted for that moment, in a mount namespace that nobody else is in.
 */
static int take_node(int *slot, int folder)
{
	int tree;

	must(sys(move_mount, *slot, "", folder, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH),
	     "move_mount");
	tree = must(sys(open_tree, *slot, "device", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC), "open_tree");
	must(sys(fchdir, *slot), "chdir");
	must(sys(umount2, ".", MNT_DETACH), "umount");
	must(sys(chdir, "/"), "chdir");
	close_fd(slot);
	return tree;
}

/*
 * device PATH TYPE MAJOR MINOR MODE UID GID NEEDED SLOT: makes a device in a file system of the container's
 * own. In a file system of the host's nothing is made or changed: a device that is NEEDED has to be there.
 * Where this process may not make devices, as in a user namespace, or where a device would be none, the
 * device of SLOT is mounted, or else the host's device of the same path, if it is the same one.
 */
void step_device(void)
{
	const char *name;
	int parent = own_parent(what, &name), fd, target;
	char type = *text();
	mode_t mode = type == 'c' || type == 'u' ? S_IFCHR : type == 'b' ? S_IFBLK : S_IFIFO;
	unsigned major = number(), minor = number();
	dev_t device = mode == S_IFIFO ? 0 : make_device(major, minor);
	mode_t bits = number();
	unsigned uid = number(), gid = number(), needed = number();
	int *slot = mount_slot();
	long result;

	if (parent < 0) {
		if (needed && !has_device(what, mode, device))
			fail("it would be made in a folder that is mounted from the host", EXDEV);
		return;
	}
	result = mode != S_IFIFO && has_no_devices(parent) ? -EPERM :
							     sys(mknodat, parent, name, mode | bits, device);
	if (result == -EPERM && mode != S_IFIFO) {
		fd = *slot > 0 ? take_node(slot, parent) :
				 must(sys(open_tree, AT_FDCWD, what,
					  OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC),
				      "no device can be made here, and the host's can't be opened");
		if (!is_device(fd, mode, device))
			fail("the host's is another device", ENODEV);
		keep_inode(fd);
		result = sys(mknodat, parent, name, S_IFREG | 0644, 0);
		if (result != -EEXIST)
			must(result, "mknod");
		target = must(sys(openat, parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC), "open");
		if (!is_type(target, S_IFREG) && !is_device(target, mode, device))
			fail("there is something else", EEXIST);
		mount_on(target, NULL, fd);
		close_fd(&target);
		close_fd(&fd);
	} else {
		if (result != -EEXIST)
			must(result, "mknod");
		/* By its descriptor: what the name means, others may change. */
		fd = must(sys(openat, parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC), "open");
		if (!is_device(fd, mode, device))
			fail("there is something else", EEXIST);
		if (is_own(fd)) { /* else the host's own is mounted there */
			must(sys(fchownat, fd, "", uid, gid, AT_EMPTY_PATH), "chown");
			must(change_mode(fd, bits), "chmod");
		}
		close_fd(&fd);
	}
	close_fd(&parent);
}

/* symlink PATH TEXT: makes a link, in place of a file, in a file system of the container's own. */
void step_symlink(void)
{
	const char *name, *target = text();
	int parent = own_parent(what, &name);
	long result;

	if (parent < 0)
		return;
	result = sys(symlinkat, target, parent, name);
	if (result == -EEXIST) {
		must(sys(unlinkat, parent, name, 0), "unlink");
		result = sys(symlinkat, target, parent, name);
	}
	must(result, "symlink");
	close_fd(&parent);
}
