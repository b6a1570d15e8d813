/*
 * mount.c: the file systems that the command finds, and what becomes of them at the end.
 *
 * Source: mount(2), getmntent(3); Linux, Documentation/filesystems/9p.rst and devpts.rst.
 */
#include <errno.h>
#include <mntent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
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
void mount_make_folders(const char *path)
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

void mount_or_die(const char *source, const char *target, const char *type, unsigned long flags,
		  const char *options)
{
	mount_make_folders(target);
	if (mount(source, target, type, flags, options) < 0)
		die("mounting %s, %s, on %s: %s", source, type, target, strerror(errno));
}

void mount_9p(const char *tag, const char *target, bool writable, const char *cache)
{
	char options[128];

	snprintf(options, sizeof(options), "trans=virtio,version=9p2000.L,msize=512000,cache=%s",
		 cache);
	mount_or_die(tag, target, "9p", writable ? 0 : MS_RDONLY, options);
}

void mount_virtiofs(const char *tag, const char *target, bool writable)
{
	mount_or_die(tag, target, "virtiofs", writable ? 0 : MS_RDONLY, NULL);
}

void mount_all(const struct plan *plan)
{
	for (size_t i = 0; i < sizeof(kernels_own) / sizeof(kernels_own[0]); i++) {
		mount_make_folders(kernels_own[i].target);
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
		if (share->by_9p)
			mount_9p(share->tag, share->path, share->writable, "mmap");
		else
			mount_virtiofs(share->tag, share->path, share->writable);
	}
}

/*
 * Leaves clean what is on disks. Each file system becomes read-only, which writes all of it and
 * marks it so; for that, nobody may have a file of it open for writing.
 */
void mount_settle(void)
{
	FILE *mounts;
	struct mntent *entry;

	if (getpid() != 1) /* a try of this program: the mounts are somebody's */
		return;
	mounts = setmntent("/proc/self/mounts", "re");
	while (mounts && (entry = getmntent(mounts))) {
		if (strncmp(entry->mnt_fsname, "/dev/", strlen("/dev/")))
			continue;
		kill(-1, SIGKILL);
		while (wait(NULL) > 0)
			;
		if (mount(NULL, entry->mnt_dir, NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
			say("%s on %s isn't clean: %s", entry->mnt_fsname, entry->mnt_dir,
			    strerror(errno));
	}
}
