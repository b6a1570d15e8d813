/*
 * attach.c: trees of mounts get their places in the root.
 *
 * Source: move_mount(2), openat2(2).
 */
#include "container.h"

#include <linux/mount.h>
#include <linux/openat2.h>

void mount_on(int target, const char *path, int tree)
{
	if (is_same_file(target, root) && mount_id(target) == mount_id(root))
		fail("it is the root itself", EINVAL);
	refuse_peer(target, path);
	must(sys(move_mount, tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH),
	     "move_mount");
}

static int is_the_hosts_root(int fd)
{
	struct stat status, host;

	must(sys(fstat, fd, &status), "fstat");
	must(sys(newfstatat, AT_FDCWD, "/", &host, 0), "stat");
	return status.st_dev == host.st_dev && status.st_ino == host.st_ino;
}

/*
 * root PATH SLOT: the tree becomes the root to be. It is mounted at its path: hooks look for it there, and
 * what a hook mounts there is mounted in it. Where the container's root user can't reach the path, the
 * tree is mounted over `/`, which doesn't change what paths mean until pivot_root. A path that is a link
 * by now is refused: the tree would be over /usr, say, and hooks of the host would be the image's programs.
 */
void step_root(void)
{
	long place = lookup_in(AT_FDCWD, what, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);

	if (place == -ELOOP)
		must(place, "open");
	root = *mount_slot();
	if (!is_the_hosts_root(root))
		is_made_here(root);
	must(sys(move_mount, root, "", place < 0 ? AT_FDCWD : place, place < 0 ? "/" : "",
		 MOVE_MOUNT_F_EMPTY_PATH | (place < 0 ? 0 : MOVE_MOUNT_T_EMPTY_PATH)),
	     "move_mount");
	if (place >= 0)
		sys(close, place);
}

/*
 * The mounts at /proc and /sys. Paths below them that are protected are looked up in these mounts: by
 * its whole path, a file would be missed while somebody who can write to the root's folder has renamed
 * /proc (CVE-2025-52881).
 */
static struct {
	const char *path;
	int fd;
} kernels[] = { { "/proc", -1 }, { "/sys", -1 } };

long lookup_protected(const char *path)
{
	for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
		size_t size = length(kernels[i].path);
		long found;

		if (kernels[i].fd < 0 || length(path) <= size + 1 || path[size] != '/' ||
		    memcmp(path, kernels[i].path, size))
			continue;
		found = lookup_in(kernels[i].fd, path + size + 1, O_PATH, RESOLVE_BENEATH);
		if (found != -EXDEV) /* then the path, or a link, leads elsewhere */
			return found;
	}
	return lookup(path, O_PATH, 0);
}

void forget_kernels(void)
{
	for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++)
		kernels[i].fd = -1;
}

/*
 * attach TARGET SLOT LINKS KEPT: mounts the tree at TARGET, which is made if it isn't there: a folder for
 * a folder, else a file. With LINKS 0, the path may have no links: procfs and sysfs have to be where
 * they seem to be. With KEPT 1, the slot stays, so that the mount can be changed later.
 */
void step_attach(void)
{
	int *slot = mount_slot(), target;
	unsigned long resolve = number() ? 0 : RESOLVE_NO_SYMLINKS;
	long found = lookup(what, O_PATH, resolve);

	if (found == -ENOENT) {
		target = make(what, is_type(*slot, S_IFDIR) ? S_IFDIR : S_IFREG);
		if (resolve) { /* what was made, is it there, and not where a link points to? */
			close_fd(&target);
			found = lookup(what, O_PATH, resolve);
			target = must(found, "open");
		}
	} else {
		target = must(found, "open");
	}
	mount_on(target, what, *slot);
	close_fd(&target);
	for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
		if (same(what, kernels[i].path)) {
			close_fd(&kernels[i].fd);
			kernels[i].fd = *slot;
			*slot = -1;
		}
	}
	if (!number())
		close_fd(slot);
}

/* at TARGET SLOT: opens what is mounted at TARGET already, so that `attributes` can change it. */
void step_at(void)
{
	int *slot = mount_slot();

	*slot = must(lookup(what, O_PATH, 0), "open");
}

/* folder PATH: makes a folder if it isn't there, such as the working directory. */
void step_folder(void)
{
	int fd = make(what, S_IFDIR);

	close_fd(&fd);
}
