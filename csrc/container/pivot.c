/*
 * pivot.c: the container's root becomes the root, and the host's tree goes away.
 *
 * Source: pivot_root(2), chroot(2), proc_pid_mountinfo(5).
 */
#include "container.h"

#include <linux/mount.h>

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

static char mount_table[1 << 20];

void forget_mount_table(void)
{
	if (*mount_table)
		memset(mount_table, 0, sizeof(mount_table));
}

/* Decodes the escapes of a word in mountinfo, and ends the word with a zero byte. Returns what follows. */
static char *mountinfo_word(char *word)
{
	char *to = word, *from = word;

	for (; *from && *from != ' '; from++) {
		if (*from == '\\' && from[1] && from[2] && from[3]) {
			*to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 3;
		} else {
			*to++ = *from;
		}
	}
	from = *from ? from + 1 : from;
	*to = '\0';
	return from;
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
	char path[PATH_SIZE], *const table = mount_table;
	size_t size = 0, below = length(inside);
	long count;
	int fd;

	own_path(path, "mountinfo");
	fd = open_proc(path, O_RDONLY);
	while ((count = must(sys(read, fd, table + size, sizeof(mount_table) - 1 - size), "read mountinfo")) > 0)
		size += count;
	if (size == sizeof(mount_table) - 1)
		fail("too many mounts", E2BIG);
	close_fd(&fd);
	for (char *at = table, *next; *at; at = next) {
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
 * root; so the configuration may not grant that capability.
 */
void step_chroot(void)
{
	must(sys(chdir, what), "chdir");
	must(sys(chroot, "."), "chroot");
}
