/*
 * filesystem.c: new file systems.
 *
 * Source: Linux, Documentation/filesystems/mount_api.rst, proc.rst.
 */
#include "container.h"

#include <linux/mount.h>
#include <linux/sched.h>
#include <signal.h>

static const char *instead;

/*
 * instead TARGET TREE: where the kernel refuses the next `filesystem`, this tree of the host's is mounted,
 * read-only. Only the owner of the namespace that sysfs or a cgroup file system shows may make one.
 */
void step_instead(void)
{
	instead = text();
}

static int is_refused(long result)
{
	return instead && (result == -EPERM || result == -EBUSY);
}

static int bind_instead(unsigned long attributes)
{
	struct mount_attr attr = {
		.attr_set = (attributes & ~MOUNT_ATTR__ATIME) | MOUNT_ATTR_RDONLY,
		.propagation = MS_PRIVATE, /* what the host mounts there later would not be read-only */
	};
	int tree = must_on(sys(open_tree, AT_FDCWD, instead,
			       OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE),
			   "open_tree", instead);

	must(sys(mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)),
	     "mount_setattr");
	instead = NULL;
	return tree;
}

/*
 * Whether procfs can be made of a process id namespace that this process isn't in (Linux 6.17). If so,
 * the context `fs` now makes it of that namespace.
 */
static int is_of_namespace(int fs)
{
	return !sys(fsconfig, fs, FSCONFIG_SET_FD, "pidns", NULL, pid_namespace);
}

/* A new file system by the context `fs`, with the options that follow; attached to nothing. */
static int make_filesystem(int fs, const char *type, const char *source, unsigned long attributes)
{
	char *option;
	long made;

	must_fs(fs, sys(fsconfig, fs, FSCONFIG_SET_STRING, "source", source, 0), "source=", source);
	while ((option = optional())) {
		char *value = find(option, '=');
		long result;

		if (value) {
			*value = '\0';
			result = sys(fsconfig, fs, FSCONFIG_SET_STRING, option, value + 1, 0);
			*value = '=';
		} else {
			result = sys(fsconfig, fs, FSCONFIG_SET_FLAG, option, NULL, 0);
		}
		must_fs(fs, result, "option ", option);
	}
	made = sys(fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
	if (made >= 0)
		made = sys(fsmount, fs, FSMOUNT_CLOEXEC, attributes);
	if (is_refused(made))
		made = bind_instead(attributes);
	must_fs(fs, made, "making ", type);
	close_fd(&fs);
	return made;
}

/* Makes a process that shares memory and descriptors with this one, which waits. Returns 0 there. */
#define clone_inside() sys(clone, CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, 0, 0, 0, 0)

static void await_inside(long pid)
{
	int status = 0;

	sys(wait4, pid, &status, 0, NULL);
	if (status)
		sys(exit_group, 125); /* why, the other one has told */
}

/*
 * Before Linux 6.17: a process in the namespace makes procfs. For this moment, the processes in there see
 * it. A third process, between the two, joins the namespace, since this one has yet to run hooks
 * outside of it.
 */
static void __attribute__((noinline)) make_procfs_inside(int *slot, const char *source,
							  unsigned long attributes)
{
	long between = must(clone_inside(), "clone"), inside;

	if (between) {
		await_inside(between);
		return;
	}
	must(sys(setns, pid_namespace, CLONE_NEWPID), "setns");
	inside = must(clone_inside(), "clone");
	if (inside)
		await_inside(inside);
	else
		*slot = make_filesystem(must(sys(fsopen, "proc", FSOPEN_CLOEXEC), "fsopen"), "proc", source,
					attributes);
	sys(exit_group, 0);
}

/* filesystem TARGET SLOT TYPE SOURCE ATTRIBUTES OPTION...: makes a new one, attached to nothing. */
void step_filesystem(void)
{
	int *slot = mount_slot();
	const char *type = text(), *source = text();
	unsigned long attributes = number();
	int fs = sys(fsopen, type, FSOPEN_CLOEXEC);

	if (is_refused(fs)) {
		*slot = bind_instead(attributes);
		return;
	}
	must_on(fs, "fsopen", type);
	if (same(type, "proc") && pid_namespace >= 0 && !is_of_namespace(fs)) {
		close_fd(&fs);
		make_procfs_inside(slot, source, attributes);
	} else {
		*slot = make_filesystem(fs, type, source, attributes);
	}
	if (same(type, "tmpfs")) /* of others, another mount may show the same files */
		is_made_here(*slot);
	instead = NULL;
}
