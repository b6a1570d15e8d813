/*
 * masks.c: covers files and folders, or makes them read-only, when all is mounted.
 */
#include "container.h"

#include <linux/mount.h>

int null_device = -1;

/* readonly PATH: makes it read-only, recursively. A path that isn't there needs no protection. */
void step_readonly(void)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
	long target = lookup_protected(what);
	int tree;

	if (target == -ENOENT || target == -ENOTDIR)
		return;
	must(target, "open");
	tree = must(sys(open_tree, target, "",
			OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE),
		    "open_tree");
	must(sys(mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)),
	     "mount_setattr");
	mount_on(target, NULL, tree);
	close_fd(&tree);
	sys(close, target);
}

/*
 * A stream that is the host's null device becomes the same device on the read-only mount, by which its mode
 * and owner stay. `streams` gives the container's own, if there is one.
 */
static void keep_null_streams(void)
{
	char path[64] = "self/fd/";
	int null;

	append_number(path, sizeof(path), null_device);
	null = must(sys(openat, host_proc, path, O_RDWR | O_CLOEXEC), "open it again");
	for (int fd = 0; fd <= 2; fd++)
		if (is_device(fd, S_IFCHR, make_device(1, 3)))
			must(sys(dup2, null, fd), "dup2");
	close_fd(&null);
}

/*
 * null: opens the device that covers files. It is the host's, opened before the root changes, and
 * checked: the container's /dev/null may have become anything else.
 */
void step_null(void)
{
	null_device = must(sys(openat, AT_FDCWD, "/dev/null", O_PATH | O_NOFOLLOW | O_CLOEXEC), "open");
	if (!is_device(null_device, S_IFCHR, make_device(1, 3)))
		fail("it is not the null device", ENODEV);
	/* As a mount of its own it can be copied, whatever becomes of the host's. */
	null_device = must(sys(open_tree, null_device, "",
			       OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH),
			   "open_tree");
	keep_inode(null_device);
	keep_null_streams();
}

/* mask PATH: covers a file by the null device, a folder by an empty folder. */
void step_mask(void)
{
	static int first_file = -1, first_folder = -1;
	long target = lookup_protected(what);
	int is_folder, *first, cover;

	if (target == -ENOENT || target == -ENOTDIR)
		return;
	must(target, "open");
	is_folder = is_type(target, S_IFDIR);
	first = is_folder ? &first_folder : &first_file;
	if (*first >= 0) {
		/* What is attached can be copied; before Linux 6.15, what isn't can't. */
		cover = must(sys(open_tree, *first, "",
				 OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH),
			     "open_tree");
	} else if (is_folder) {
		int fs = must(sys(fsopen, "tmpfs", FSOPEN_CLOEXEC), "fsopen");

		must(sys(fsconfig, fs, FSCONFIG_SET_STRING, "nr_inodes", "1", 0), "fsconfig");
		must(sys(fsconfig, fs, FSCONFIG_SET_STRING, "mode", "755", 0), "fsconfig");
		must(sys(fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0), "fsconfig");
		cover = must(sys(fsmount, fs, FSMOUNT_CLOEXEC,
				 MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
					 MOUNT_ATTR_NOEXEC),
			     "fsmount");
		close_fd(&fs);
	} else {
		if (null_device < 0)
			fail("the plan has no step `null`", EINVAL);
		cover = null_device;
	}
	mount_on(target, NULL, cover);
	if (*first < 0)
		*first = cover;
	else
		close_fd(&cover);
	sys(close, target);
}

/* freeze_root: makes the root itself read-only. What is mounted in it has its own attributes. */
void step_freeze_root(void)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };

	must(sys(mount_setattr, root, "", AT_EMPTY_PATH, &attr, sizeof(attr)), "mount_setattr");
}
