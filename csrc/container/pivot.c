/*
 * pivot.c: the container's root becomes the root, and the host's tree goes away.
 *
 * Source: pivot_root(2), chroot(2).
 */
#include "container.h"

#include <linux/mount.h>
#include <linux/openat2.h>

/*
 * pivot: the old root goes on top of the new one, and is unmounted. Then nothing of the old root can be
 * reached but by descriptors, which exec closes.
 */
void step_pivot(void)
{
	must(sys(fchdir, root), "fchdir");
	must(sys(pivot_root, ".", "."), "pivot_root");
	/* For umount, `.` is the mount on top. It is a slave: on the host, all stays mounted. */
	must(sys(umount2, ".", MNT_DETACH), "umount");
	must(sys(chdir, "/"), "chdir");
}

/* Takes away the mount at the path; if that can't be, covers it. */
static void cover(const char *path)
{
	int fs, mount, target;

	if (!sys(umount2, path, MNT_DETACH))
		return;
	/* It is one of another user namespace, which can't be taken away. */
	target = sys(openat, AT_FDCWD, path, O_PATH | O_CLOEXEC);
	if (target == -ENOENT || target == -EACCES)
		return; /* it went with the one that it was on */
	must_on(target, "open", path);
	fs = must(sys(fsopen, "tmpfs", FSOPEN_CLOEXEC), "fsopen");
	must(sys(fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0), "fsconfig");
	mount = must(sys(fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY), "fsmount");
	if (is_type(target, S_IFDIR))
		must_on(sys(move_mount, mount, "", target, "",
			    MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH),
			"covering", path);
	close_fd(&mount);
	close_fd(&fs);
	close_fd(&target);
}

/*
 * The host's procfs and sysfs, outside of the root, are taken away. While they are there, bare, any
 * user namespace in the container may mount new ones, without what is masked (the kernel allows
 * no more than is visible already: mount_too_revealing in fs/namespace.c).
 */
static void cover_kernels(const char *inside)
{
	size_t below = length(inside);

	for (char *at = read_mount_table(), *next; *at; at = next) {
		char *end = find(at, '\n'), *place = at, *type;

		next = end ? end + 1 : at + length(at);
		if (end)
			*end = '\0';
		for (int words = 0; words < 4 && place; words++) /* id, parent, device, root */
			place = (place = find(place, ' ')) ? place + 1 : NULL;
		if (!place)
			continue;
		type = mountinfo_word(place);
		while (*type && (type[0] != '-' || type[1] != ' ')) /* options, and optional fields */
			type = find(type, ' ') ? find(type, ' ') + 1 : type + length(type);
		if (!*type)
			continue;
		mountinfo_word(type += 2);
		if (!same(type, "proc") && !same(type, "sysfs"))
			continue;
		if (below > 1 && !memcmp(place, inside, below) && (place[below] == '/' || !place[below]))
			continue;
		cover(place);
	}
}

/*
 * move_root: the weaker way, for a root that can't be pivoted from (an initramfs). The new root covers the
 * old one, which stays below.
 */
void step_move_root(void)
{
	char path[PATH_SIZE];

	must(sys(fchdir, root), "fchdir");
	must(sys(getcwd, path, sizeof(path)), "getcwd");
	cover_kernels(path);
	if (!same(path, "/")) /* where `root` has mounted it, else */
		must(sys(move_mount, root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH), "move_mount");
	must(sys(fchdir, root), "fchdir");
	must(sys(chroot, "."), "chroot");
	must(sys(chdir, "/"), "chdir");
}

/*
 * chroot PATH: for a container without a mount namespace. A process with CAP_SYS_CHROOT gets out of such a
 * root; so the configuration may not grant that capability. A root that is a link is refused, as `bind` does.
 */
void step_chroot(void)
{
	int fd = must(lookup_in(AT_FDCWD, what, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS), "open");

	must(sys(fchdir, fd), "chdir");
	close_fd(&fd);
	must(sys(chroot, "."), "chroot");
}
