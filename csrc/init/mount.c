/*
 * mount.c: the file systems that the command finds.
 *
 * Either the initramfs stays the root, or the root is a tree of the host's, by 9p. That one is
 * mounted read-only, below an overlay whose upper layer is in the guest's memory: the guest may
 * write where it likes, and the host never sees it.
 *
 * Source: mount(2); Linux, Documentation/filesystems/9p.rst, overlayfs.rst and devpts.rst;
 * Documentation/filesystems/ramfs-rootfs-initramfs.rst (switch_root).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init.h"

#define PLAIN (MS_NOSUID | MS_NODEV)

static const struct {
	const char *type, *target, *options;
	unsigned long flags;
} kernels_own[] = {
	{ "proc", "/proc", NULL, PLAIN | MS_NOEXEC },
	{ "sysfs", "/sys", NULL, PLAIN | MS_NOEXEC },
	{ "devtmpfs", "/dev", "mode=755", MS_NOSUID },
	{ "devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666", MS_NOSUID | MS_NOEXEC },
	{ "tmpfs", "/dev/shm", "mode=1777", PLAIN },
	{ "tmpfs", "/run", "mode=755", PLAIN },
	{ "cgroup2", "/sys/fs/cgroup", NULL, PLAIN | MS_NOEXEC },
};

/* What udev makes elsewhere. */
static const char *const links[][2] = {
	{ "/proc/self/fd", "/dev/fd" },
	{ "/proc/self/fd/0", "/dev/stdin" },
	{ "/proc/self/fd/1", "/dev/stdout" },
	{ "/proc/self/fd/2", "/dev/stderr" },
};

/* Makes the folder and those above it. One that can't be made shows when it's mounted on. */
static void make_folders(const char *path)
{
	char *copy = strdup(path);

	for (char *slash = copy; slash && (slash = strchr(slash + 1, '/'));) {
		*slash = '\0';
		mkdir(copy, 0755);
		*slash = '/';
	}
	free(copy);
	mkdir(path, 0755);
}

static void mount_or_die(const char *source, const char *target, const char *type,
			 unsigned long flags, const char *options)
{
	make_folders(target);
	if (mount(source, target, type, flags, options) < 0)
		die("mounting %s, %s, on %s: %s", source, type, target, strerror(errno));
}

static void mount_9p(const char *tag, const char *target, bool writable, const char *cache)
{
	char options[128];

	snprintf(options, sizeof(options), "trans=virtio,version=9p2000.L,msize=512000,cache=%s",
		 cache);
	mount_or_die(tag, target, "9p", writable ? 0 : MS_RDONLY, options);
}

static void switch_root(const char *tag)
{
	/* Nobody writes to this tree while the guest runs, or it doesn't matter. */
	mount_9p(tag, "/lower", false, "loose");
	mount_or_die("tmpfs", "/layers", "tmpfs", 0, NULL);
	make_folders("/layers/upper");
	make_folders("/layers/work");
	mount_or_die("overlay", "/new", "overlay", 0,
		     "lowerdir=/lower,upperdir=/layers/upper,workdir=/layers/work");
	if (chdir("/new") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
	    chdir("/") < 0)
		die("switching to the new root: %s", strerror(errno));
}

void mount_all(const struct plan *plan)
{
	if (plan->root)
		switch_root(plan->root);
	for (size_t i = 0; i < sizeof(kernels_own) / sizeof(kernels_own[0]); i++) {
		make_folders(kernels_own[i].target);
		if (mount(kernels_own[i].type, kernels_own[i].target, kernels_own[i].type,
			  kernels_own[i].flags, kernels_own[i].options) < 0 &&
		    errno != ENODEV) /* the kernel was built without it */
			die("mounting %s: %s", kernels_own[i].target, strerror(errno));
	}
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		if (symlink(links[i][0], links[i][1]) < 0 && errno != EEXIST)
			die("making %s: %s", links[i][1], strerror(errno));
	for (size_t i = 0; i < plan->share_count; i++) {
		const struct share *share = &plan->shares[i];

		/* What the host writes is seen at once, and the other way round. */
		mount_9p(share->tag, share->path, share->writable, "mmap");
	}
}
