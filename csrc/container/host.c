/*
 * host.c: what the helper does first, as a process of the host: descriptors, its cgroup, its limits.
 *
 * Source: close_range(2), cgroups(7), getrlimit(2).
 */
#include "container.h"

#include <linux/close_range.h>
#include <linux/prctl.h>
#include <sys/resource.h>

int first_own;
mode_t starters_umask;

/*
 * fds WHAT FIRST: exec closes all descriptors from FIRST on, whatever ringlet's process had open
 * (CVE-2024-21626). Below FIRST are the streams and the descriptors that are to be passed on. All of these are
 * open, or the helper's own descriptors would be among them: host_proc took the lowest free number.
 */
void step_fds(void)
{
	first_own = number();
	if (host_proc < first_own)
		fail("a descriptor that is to be passed on isn't open", EBADF);
	must(sys(close_range, first_own, ~0U, CLOSE_RANGE_CLOEXEC), "close_range");
}

/*
 * hidden: a process without CAP_SYS_PTRACE of the host can't look into this one, nor trace it. From here
 * on the files of this process in /proc belong to the host's root: a user writes to them before.
 */
void step_hidden(void)
{
	must(sys(prctl, PR_SET_DUMPABLE, 0), "prctl");
}

/*
 * cgroup TASKS: joins a cgroup of version 1 by its file `tasks`, which moves one thread, and takes a
 * fiftieth of the time of `cgroup.procs`. What is forked from here on is in the cgroup.
 */
void step_cgroup(void)
{
	write_file(AT_FDCWD, what, "0");
}

/* oom_score_adj VALUE: set before there is a user namespace, in which the value can't be lowered. */
void step_oom_score_adj(void)
{
	write_own("oom_score_adj", what);
}

/*
 * hard NAME RESOURCE HARD: raises a hard limit, while this process has the right to. `rlimit` sets the
 * limits themselves, last: they could be too tight for the steps before.
 */
void step_hard(void)
{
	int resource = number();
	rlim_t hard = number();
	struct rlimit limit;

	must(sys(prlimit64, 0, resource, NULL, &limit), "prlimit");
	if (hard <= limit.rlim_max)
		return;
	limit.rlim_max = hard;
	must(sys(prlimit64, 0, resource, &limit, NULL), "raising the hard limit");
}
