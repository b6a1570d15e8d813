/*
 * namespaces.c: namespaces: those of others are joined, and new ones are made with the new process.
 *
 * Source: namespaces(7), setns(2), clone(2), unshare(2), time_namespaces(7).
 */
#include "container.h"

#include <linux/prctl.h>
#include <linux/sched.h>
#include <signal.h>

int pid_namespace = -1, unified = -1;

/* Namespaces that are there already, by their paths. */
static struct {
	const char *path;
	long fd;
} found[16];

static long open_namespace(const char *path)
{
	for (size_t i = 0; i < sizeof(found) / sizeof(found[0]) && found[i].path; i++)
		if (found[i].fd >= 0 && same(found[i].path, path))
			return found[i].fd;
	return sys(openat, AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
}

/*
 * namespace PATH: opens a namespace before the first one is joined: in a mount namespace of others,
 * paths are theirs. A namespace that takes rights which a user namespace gives is opened with those.
 */
void step_namespace(void)
{
	size_t i = 0;

	while (found[i].path)
		if (++i == sizeof(found) / sizeof(found[0]) - 1)
			fail("too many", E2BIG);
	found[i].fd = open_namespace(what);
	if (found[i].fd != -EACCES)
		must(found[i].fd, "open");
	found[i].path = what;
}

static int joined; /* the types of those that this process has joined */

/*
 * join PATH TYPE: joins a namespace that is there already. One that takes rights which a user namespace
 * gives is joined after the user namespace: the plan has it twice, before as `try`, after as `join`.
 */
static void join(int may_fail)
{
	unsigned long type = number();
	long result;

	if (joined & type)
		return;
	result = open_namespace(what);
	if (result == -EACCES && may_fail)
		return;
	result = sys(setns, must(result, "open"), type);
	if (result == -EPERM && may_fail)
		return;
	must(result, "setns");
	joined |= type;
}

void step_try(void)
{
	join(1);
}

void step_join(void)
{
	join(0);
}

/*
 * pids PATH: opens a process id namespace. Where that takes rights which a user namespace gives, the
 * step stands in the plan once more, after the user namespace.
 */
void step_pids(void)
{
	long opened = pid_namespace;

	if (opened < 0)
		opened = open_namespace(what);
	if (opened != -EACCES)
		pid_namespace = must(opened, "open");
}

/* join_pids PATH: the processes that this one makes from here on are in it. */
void step_join_pids(void)
{
	if (pid_namespace < 0)
		fail("open", EACCES);
	must(sys(setns, pid_namespace, CLONE_NEWPID), "setns");
}

/* unified FOLDER: opens the child's cgroup of version 2, which may not be visible later. */
void step_unified(void)
{
	unified = must(sys(openat, AT_FDCWD, what, O_PATH | O_DIRECTORY | O_CLOEXEC), "open");
}

/*
 * owner UID: the user namespace that `clone` makes belongs to this user of the host. What the kernel counts
 * for the users in it (inotify instances, pending signals) counts for its owner: not for the host's root.
 */
void step_owner(void)
{
	must(sys(setresuid, -1, parse(what), -1), "setresuid");
	step_all_capabilities();
}

/*
 * clone KIND FLAGS: makes new namespaces, and the child, which goes on with the plan. The child is born
 * in its cgroup of version 2. This process ends. KIND is for readers of the plan: the child of the last
 * `clone` is the `container`'s process, each other one is one more `helper`.
 */
void step_clone(void)
{
	unsigned long flags = number() | CLONE_PARENT;
	struct clone_args args = { .flags = flags };
	long pid;

	if (unified >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = unified;
		pid = must(sys(clone3, &args, sizeof(args)), "clone3");
	} else {
		/* The older call: a filter may be in force, and filters can't look into clone3's. */
		pid = must(sys(clone, flags, 0, 0, 0, 0), "clone");
	}
	close_fd(&unified);
	if (pid) {
		tell('P', pid);
		sys(exit_group, 0);
	}
	/* The container ends with ringlet until it is made. If ringlet has ended already, `await` fails. */
	must(sys(prctl, PR_SET_PDEATHSIG, SIGKILL), "prctl");
}

/*
 * timens OFFSETS: makes a time namespace for what comes after exec (Linux 6.1). Its offsets can be set
 * only while no process is in it, so `clone` doesn't make it.
 */
void step_timens(void)
{
	must(sys(unshare, CLONE_NEWTIME), "unshare");
	if (*what)
		write_own("timens_offsets", what);
}

/* unshare KIND FLAG: makes a cgroup namespace, whose root is the cgroup in which its maker is now. */
void step_unshare(void)
{
	must(sys(unshare, number()), "unshare");
}

/*
 * apart KIND FILE NUMBER: fails if this process is in the namespace of this number, which is ringlet's own.
 * Steps that follow set the namespace up. ringlet has compared the path that the configuration names, but
 * here the path may mean another namespace: by /proc/self, or because somebody has mounted another one.
 */
void step_apart(void)
{
	char path[PATH_SIZE], name[16] = "ns/";
	struct stat own;

	append(name, sizeof(name), text());
	own_path(path, name);
	must(sys(newfstatat, host_proc, path, &own, 0), "stat");
	if (own.st_ino == number())
		fail("it is the host's, which isn't the container's to set up", EPERM);
}
