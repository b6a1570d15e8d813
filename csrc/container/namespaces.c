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
 * namespace PATH: opened before the first is joined: in a mount namespace of others, paths are theirs.
 * What takes rights that a user namespace gives is opened when there are those.
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

/*
 * join PATH TYPE: a namespace that is there already. One that needs rights which a user namespace
 * gives is joined after that: the plan has it again, as `join`, and before it as `try`.
 */
static int joined;

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
 * pids PATH: opens a process id namespace. Where it takes rights that a user namespace gives, the plan
 * has it once more, after that.
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

/* enter PID PIDFD TYPES: all these namespaces of a process at once. */
void step_enter(void)
{
	int pidfd = number();

	must(sys(setns, pidfd, number()), "setns");
}

/* unified FOLDER: the cgroup of version 2 for the child; here, for it may not be seen later. */
void step_unified(void)
{
	unified = must(sys(openat, AT_FDCWD, what, O_PATH | O_DIRECTORY | O_CLOEXEC), "open");
}

/*
 * clone KIND FLAGS: new namespaces, and the child, which goes on with the plan. It is born in its cgroup
 * of version 2. This process is done. KIND tells ringlet what the child is: `container`, a process
 * of the container's; or `helper`, one more of these, which will make that.
 */
void step_clone(void)
{
	char kind = same(what, "helper") ? 'H' : 'P';
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
		tell(kind, pid);
		sys(exit_group, 0);
	}
	/* Until it is made, it ends with ringlet. If ringlet has ended already, `await` finds out. */
	must(sys(prctl, PR_SET_PDEATHSIG, SIGKILL), "prctl");
}

/*
 * timens OFFSETS: a time namespace for what comes after exec (Linux 6.1). Its offsets can be set
 * only while no process is in it, so it is none of those made with the process.
 */
void step_timens(void)
{
	must(sys(unshare, CLONE_NEWTIME), "unshare");
	if (*what)
		write_own("timens_offsets", what);
}

/* unshare KIND FLAG: a cgroup namespace begins at the cgroup that who makes it is in by then. */
void step_unshare(void)
{
	must(sys(unshare, number()), "unshare");
}
