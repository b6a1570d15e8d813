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

/*
 * fds WHAT FIRST: all descriptors from FIRST on are closed by exec, whatever ringlet's process
 * had open (CVE-2024-21626). Below are the streams and those that are to be passed on.
 */
void step_fds(void)
{
	first_own = number();
	must(sys(close_range, first_own, ~0U, CLOSE_RANGE_CLOEXEC), "close_range");
}

/*
 * hidden: who has no CAP_SYS_PTRACE of the host can't look into this process, or trace it. Its files
 * in /proc are the host's root's from here on: what a user has to write there is written before.
 */
void step_hidden(void)
{
	must(sys(prctl, PR_SET_DUMPABLE, 0), "prctl");
}

/*
 * cgroup TASKS: joins by a file `tasks` of version 1, which moves one thread, and takes a fiftieth
 * of the time of `cgroup.procs`. What is forked from here on is in the cgroup.
 */
void step_cgroup(void)
{
	write_file(AT_FDCWD, what, "0");
}

/* oom_score_adj VALUE: before a user namespace, in which it can't be lowered. */
void step_oom_score_adj(void)
{
	write_own("oom_score_adj", what);
}

/*
 * hard NAME RESOURCE HARD: raises a hard limit, while there is the right to. The limits themselves
 * are set last: they could be too tight for what is to be done before.
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
