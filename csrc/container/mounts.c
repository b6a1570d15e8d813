/*
 * mounts.c: trees of mounts that have no place yet: opened, parked, changed, their owners mapped.
 *
 * Source: open_tree(2), move_mount(2), mount_setattr(2), mount_namespaces(7).
 */
#include "container.h"

#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <signal.h>

#define MOUNTS_MAX 4096

static int mounts[MOUNTS_MAX]; /* those made and not yet attached, by the plan's numbers */

int *mount_slot(void)
{
	unsigned long slot = number();

	if (slot >= MOUNTS_MAX)
		fail("too many mounts", E2BIG);
	return &mounts[slot];
}

/*
 * The ids of the mounts that this plan has made, and of the root: a change in any other one would
 * change the host's files.
 */
static uint64_t own_mounts[MOUNTS_MAX];
static size_t own_count;

uint64_t mount_id(int fd)
{
	struct statx status;

	must(sys(statx, fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &status), "statx");
	if (!(status.stx_mask & STATX_MNT_ID))
		fail("this kernel doesn't tell what is mounted where", ENOSYS);
	return status.stx_mnt_id;
}

void is_made_here(int mount)
{
	if (own_count == MOUNTS_MAX)
		fail("too many mounts", E2BIG);
	own_mounts[own_count++] = mount_id(mount);
}

int is_own(int fd)
{
	uint64_t id = mount_id(fd);

	for (size_t i = 0; i < own_count; i++)
		if (own_mounts[i] == id)
			return 1;
	return 0;
}

/*
 * propagation PATH FLAGS: at first, so that what is mounted in here shows nowhere else, which pivot_root
 * needs, too; at the end, as the configuration says.
 */
void step_propagation(void)
{
	must(sys(mount, NULL, what, NULL, number(), NULL), "mount");
}

/*
 * bind TARGET SLOT SOURCE RECURSIVE LINKS: copies a tree of mounts; the copy is attached to nothing. With
 * LINKS 0, the source's path may have no links.
 */
void step_bind(void)
{
	int *slot = mount_slot(), found = AT_FDCWD;
	const char *source = text(), *path = source;
	unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (number() ? AT_RECURSIVE : 0);

	if (!number()) {
		found = must_on(lookup_in(AT_FDCWD, source, O_PATH, RESOLVE_NO_SYMLINKS), "open", source);
		path = "";
		flags |= AT_EMPTY_PATH;
	}
	*slot = must_on(sys(open_tree, found, path, flags), "open_tree", source);
	close_fd(&found);
}

/* same TARGET SLOT FD: fails unless the tree begins at this folder: another may have its name by now. */
void step_same(void)
{
	int tree = *mount_slot();

	if (!is_same_file(tree, number()))
		fail("it is another folder by now", ESTALE);
}

/*
 * park PATH SLOT...: puts these trees into a mount namespace, of which the container's becomes a copy. A
 * user namespace can't undo the mounts that it gets by a copy (mount_namespaces(7)): a read-only one
 * stays so, and a mount over something stays there. The trees lie in this process's working
 * directory, which then leads into the copy. It is at PATH, where the root will be.
 */
void step_park(void)
{
	struct mount_attr slave = { .propagation = MS_SLAVE };
	int fs, place, root_folder;

	must(sys(unshare, CLONE_NEWNS), "unshare");
	must(sys(mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &slave, sizeof(slave)), "mount_setattr");
	fs = must(sys(fsopen, "tmpfs", FSOPEN_CLOEXEC), "fsopen tmpfs");
	must_fs(fs, sys(fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0), "making ", "tmpfs");
	place = must(sys(fsmount, fs, FSMOUNT_CLOEXEC, 0), "fsmount");
	close_fd(&fs);
	root_folder = must(lookup_in(AT_FDCWD, what, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS), "open");
	must(sys(move_mount, place, "", root_folder, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH),
	     "move_mount");
	close_fd(&root_folder);
	must(sys(fchdir, place), "chdir");
	while (line) {
		int *slot = mount_slot();
		char name[24] = "";

		append_number(name, sizeof(name), slot - mounts);
		if (is_type(*slot, S_IFDIR))
			must(sys(mkdirat, place, name, 0700), "mkdir");
		else
			must(sys(mknodat, place, name, S_IFREG, 0), "mknod");
		must(sys(move_mount, *slot, "", place, name, MOVE_MOUNT_F_EMPTY_PATH), "move_mount");
		close_fd(slot);
	}
	close_fd(&place);
}

/* take WHAT SLOT...: opens the trees that were parked, in the copy. */
void step_take(void)
{
	while (line) {
		int *slot = mount_slot();
		char name[24] = "";

		append_number(name, sizeof(name), slot - mounts);
		*slot = must(sys(open_tree, AT_FDCWD, name,
				 OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE),
			     "open_tree");
	}
	must(sys(chdir, "/"), "chdir");
}

/* attributes TARGET SLOT RECURSIVE SET CLEAR PROPAGATION */
void step_attributes(void)
{
	int fd = *mount_slot();
	unsigned recursive = number() ? AT_RECURSIVE : 0;
	struct mount_attr attr = { .attr_set = number() };

	attr.attr_clr = number();
	attr.propagation = number();
	must(sys(mount_setattr, fd, "", AT_EMPTY_PATH | recursive, &attr, sizeof(attr)),
	     "mount_setattr");
}

/*
 * idmap TARGET SLOT RECURSIVE UIDS GIDS: maps the owners of the tree's files as in a user namespace with
 * these maps. A child makes such a namespace, holds it until it is open here, and ends.
 */
void step_idmap(void)
{
	int fd = *mount_slot(), up[2], status;
	unsigned recursive = number() ? AT_RECURSIVE : 0;
	const char *uids = text(), *gids = text();
	struct clone_args args = { .flags = CLONE_NEWUSER, .exit_signal = SIGCHLD };
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP };
	char folder[32] = "";
	int pid, proc, userns;
	long result;
	char byte;

	must(sys(pipe2, up, O_CLOEXEC), "pipe");
	pid = must(sys(clone3, &args, sizeof(args)), "clone3 of a user namespace");
	if (!pid) {
		sys(close, up[1]);
		sys(read, up[0], &byte, 1); /* until its parent goes on, or ends */
		sys(exit_group, 0);
	}
	close_fd(&up[0]);
	append_number(folder, sizeof(folder), pid);
	proc = open_proc(folder, O_PATH | O_DIRECTORY);
	write_file(proc, "uid_map", uids);
	write_file(proc, "gid_map", gids);
	userns = must(sys(openat, proc, "ns/user", O_RDONLY | O_CLOEXEC), "open ns/user");
	close_fd(&up[1]);
	attr.userns_fd = userns;
	result = sys(mount_setattr, fd, "", AT_EMPTY_PATH | recursive, &attr, sizeof(attr));
	sys(wait4, pid, &status, 0, NULL);
	must(result, "mount_setattr with an id map");
	close_fd(&userns);
	close_fd(&proc);
}
