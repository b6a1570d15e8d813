/*
 * root.c: the root that the command finds.
 *
 * Either the initramfs stays the root; or it is a tree of the host's, by 9p or virtio-fs. That one is mounted
 * read-only, below an overlay whose upper layer is in the guest's memory: the guest may write where
 * it likes, and the host never sees it. Or it is what there is on a disk.
 *
 * Source: mount(2); Linux, Documentation/filesystems/overlayfs.rst and ramfs-rootfs-initramfs.rst
 * (switch_root).
 */
#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init.h"

#define NEW "/new"

static void mount_tree(const char *tag, bool by_9p)
{
	/* Nobody writes to this tree while the guest runs, or it doesn't matter. */
	if (by_9p)
		mount_9p(tag, "/lower", false, "loose");
	else
		mount_virtiofs(tag, "/lower", false);
	mount_or_die("tmpfs", "/layers", "tmpfs", 0, NULL);
	mount_make_folders("/layers/upper");
	mount_make_folders("/layers/work");
	mount_or_die("overlay", NEW, "overlay", 0,
		     "lowerdir=/lower,upperdir=/layers/upper,workdir=/layers/work");
}

static void wait_for(const char *device)
{
	struct stat status;
	int tries = 1000; /* 5 seconds */

	/* The kernel makes the nodes in there. */
	mount_or_die("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	while (stat(device, &status) < 0 || !S_ISBLK(status.st_mode)) {
		if (!tries--)
			die("there is no disk %s", device);
		system_pause();
	}
}

/* Read-only where the disk is. */
static bool mount_as(const char *device, const char *type)
{
	return mount(device, NEW, type, 0, NULL) == 0 ||
	       ((errno == EACCES || errno == EROFS) &&
		mount(device, NEW, type, MS_RDONLY, NULL) == 0);
}

static void mount_disk(const char *device)
{
	static const char *const types[] = { "ext4", "xfs", "btrfs", "squashfs", "erofs" };
	int error = ENODEV;

	wait_for(device);
	mount_make_folders(NEW);
	/* EINVAL: it is another one; ENODEV: the kernel hasn't got that one. */
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (error != ENODEV && error != EINVAL)
			break;
		if (mount_as(device, types[i]))
			return;
		if (errno != ENODEV)
			error = errno;
	}
	die("mounting %s: %s", device, strerror(error));
}

void root_switch(const struct plan *plan)
{
	if (plan->root_tag)
		mount_tree(plan->root_tag, plan->root_by_9p);
	else if (plan->root_disk)
		mount_disk(plan->root_disk);
	else
		return;
	if (chdir(NEW) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
	    chdir("/") < 0)
		die("switching to the new root: %s", strerror(errno));
}
