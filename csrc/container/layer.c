/*
 * layer.c: the layer over a root, which takes what the container writes.
 *
 * Source: Linux, Documentation/filesystems/overlayfs.rst.
 */
#include "container.h"

#include <linux/mount.h>
#include <linux/sched.h>

/* A new tmpfs of `size`, attached to nothing, with the folders of a layer over `lower`. */
static int make_upper(int lower, const char *size)
{
	int fs = must(sys(fsopen, "tmpfs", FSOPEN_CLOEXEC), "fsopen tmpfs"), upper;
	struct stat status;
	long done;

	must_fs(fs, sys(fsconfig, fs, FSCONFIG_SET_STRING, "size", size, 0), "size=", size);
	must_fs(fs, sys(fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0), "making ", "tmpfs");
	upper = must(sys(fsmount, fs, FSMOUNT_CLOEXEC, 0), "fsmount");
	close_fd(&fs);
	must(sys(mkdirat, upper, "work", 0700), "mkdir");
	must(sys(mkdirat, upper, "upper", 0700), "mkdir");
	/* This folder is the root that is seen: as the one below it. */
	must(sys(fstat, lower, &status), "fstat");
	done = sys(fchownat, upper, "upper", status.st_uid, status.st_gid, 0);
	if (done != -EINVAL) /* an owner who is nobody in here: the container's root has it then */
		must(done, "chown");
	must(sys(fchmodat, upper, "upper", status.st_mode & 07777), "chmod");
	return upper;
}

static void set_overlay(int fs, const char *key, const char *value)
{
	must_fs(fs, sys(fsconfig, fs, FSCONFIG_SET_STRING, key, value, 0), key, value);
}

static void set_layer(int fs, const char *key, int fd, const char *below)
{
	char path[64] = "/proc/self/fd/";

	append_number(path, sizeof(path), fd);
	append(path, sizeof(path), below);
	set_overlay(fs, key, path);
}

/*
 * layer TARGET SLOT SIZE HOST: puts a layer over the tree, a tmpfs of that size, which takes what is
 * written. The container's mount namespace alone has the layer, so the two end together, however that
 * happens. What is mounted in the tree isn't seen. With HOST 1 this process has the host's rights: then
 * a folder can be renamed, and a change of owner or mode copies no data.
 */
void step_layer(void)
{
	int *slot = mount_slot(), upper = make_upper(*slot, text()), host = number(), fs = -1;
	int attached = 0;
	long made;

	for (;;) {
		fs = must(sys(fsopen, "overlay", FSOPEN_CLOEXEC), "fsopen overlay");
		set_overlay(fs, "source", "layer");
		set_layer(fs, "lowerdir", *slot, "");
		set_layer(fs, "upperdir", upper, "/upper");
		set_layer(fs, "workdir", upper, "/work");
		if (host) {
			set_overlay(fs, "redirect_dir", "on");
			set_overlay(fs, "metacopy", "on");
		} else {
			must_fs(fs, sys(fsconfig, fs, FSCONFIG_SET_FLAG, "userxattr", NULL, 0),
				"userxattr", "");
		}
		made = sys(fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
		if (made != -EINVAL || attached)
			break;
		/* Before Linux 6.15, layers have to be in this mount namespace: in a new one. */
		attached = 1;
		close_fd(&fs);
		must(sys(unshare, CLONE_NEWNS), "unshare");
		must(sys(mount, NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), "mount");
		must(sys(move_mount, *slot, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH), "move_mount");
		must(sys(move_mount, upper, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH), "move_mount");
	}
	must_fs(fs, made, "making ", "overlay");
	/* The overlay has copies. And a process with a mount over `/` may make no user namespace. */
	for (int i = 0; attached && i < 2; i++)
		must(sys(umount2, "/", MNT_DETACH), "umount");
	close_fd(slot);
	close_fd(&upper);
	*slot = must(sys(fsmount, fs, FSMOUNT_CLOEXEC, 0), "fsmount");
	close_fd(&fs);
}
