/*
 * rights.c: what the process may do: its label, its user, its capabilities, its limits.
 *
 * Source: capabilities(7), credentials(7), prctl(2).
 */
#include "container.h"

#include <linux/capability.h>
#include <linux/prctl.h>
#include <signal.h>
#include <sys/resource.h>

void step_apparmor(void)
{
	char command[1024] = "exec ";

	append(command, sizeof(command), what);
	write_own("attr/apparmor/exec", command);
}

void step_selinux(void)
{
	write_own("attr/exec", what);
}

/* umask MASK|-: `-` is the umask of the helper's starter. */
void step_umask(void)
{
	sys(umask, same(what, "-") ? starters_umask : parse(what));
}

/* bounding WHAT MASK: drops, while it's allowed, what no program may get, whatever its file says. */
void step_bounding(void)
{
	uint64_t keep = number();

	for (unsigned long capability = 0; capability < 64; capability++) {
		if (keep >> capability & 1)
			continue;
		if (sys(prctl, PR_CAPBSET_READ, capability) == -EINVAL)
			return; /* the kernel has no more */
		must(sys(prctl, PR_CAPBSET_DROP, capability), "PR_CAPBSET_DROP");
	}
}

/* user UID GID [GROUP...]: becomes the user. Capabilities stay, for `capabilities` to choose from. */
void step_user(void)
{
	unsigned uid = parse(what), gid = number();
	static gid_t groups[WORDS_MAX];
	unsigned long count = 0;
	long result;

	while (line) {
		if (count == WORDS_MAX)
			fail("too many groups", E2BIG);
		groups[count++] = number();
	}
	must(sys(prctl, PR_SET_KEEPCAPS, 1), "PR_SET_KEEPCAPS");
	result = sys(setgroups, count, groups);
	if (result != -EPERM || count || !groups_stay)
		must(result, "setgroups");
	must(sys(setresgid, gid, gid, gid), "setresgid");
	must(sys(setresuid, uid, uid, uid), "setresuid");
	must(sys(prctl, PR_SET_KEEPCAPS, 0), "PR_SET_KEEPCAPS");
	/* The change of ids has taken it back. */
	must(sys(prctl, PR_SET_PDEATHSIG, SIGKILL), "prctl");
}

/*
 * cwd PATH LAST: goes to the working directory as root, who gets into folders that the user doesn't. Where
 * root can't (a file system may be strict with root), the step is tried again as the user, with LAST 1.
 * CVE-2024-21626 was a working directory outside of the root, by a descriptor that was left open.
 * The kernel then has no path for it that begins with `/`.
 */
void step_cwd(void)
{
	static int inside;
	char path[PATH_SIZE];
	long result;

	if (inside)
		return;
	result = sys(chdir, what);
	if (result == -EACCES && !number())
		return;
	must(result, "chdir");
	inside = 1;
	must(sys(getcwd, path, sizeof(path)), "getcwd");
	if (path[0] != '/')
		fail("it is outside of the container", EPERM);
}

static void load_capabilities(struct __user_cap_data_struct data[2])
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };

	must(sys(capget, &header, data), "capget");
}

static void store_capabilities(const struct __user_cap_data_struct data[2])
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };

	must(sys(capset, &header, data), "capset");
}

/* all_capabilities: makes all effective again after a change of user: for a filter, or a namespace. */
void step_all_capabilities(void)
{
	struct __user_cap_data_struct data[2];

	load_capabilities(data);
	for (int i = 0; i < 2; i++)
		data[i].effective = data[i].permitted;
	store_capabilities(data);
}

/*
 * capabilities WHAT EFFECTIVE PERMITTED INHERITABLE AMBIENT: sets them. One that ringlet doesn't have
 * itself can't be granted, and isn't, as the specification wants it.
 */
void step_capabilities(void)
{
	uint64_t effective = number(), permitted = number(), inheritable = number();
	uint64_t ambient = number();
	struct __user_cap_data_struct had[2], data[2];

	load_capabilities(had);
	for (int i = 0; i < 2; i++) {
		data[i].permitted = permitted >> 32 * i & had[i].permitted;
		data[i].effective = effective >> 32 * i & data[i].permitted;
		data[i].inheritable = inheritable >> 32 * i & had[i].permitted;
	}
	store_capabilities(data);
	must(sys(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "PR_CAP_AMBIENT");
	for (unsigned long capability = 0; capability < 64; capability++) {
		int i = capability / 32, bit = capability % 32;

		if (ambient >> capability & 1 && data[i].permitted >> bit & 1 &&
		    data[i].inheritable >> bit & 1)
			must(sys(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0),
			     "PR_CAP_AMBIENT_RAISE");
	}
}

/* no_new_privs: no setuid program or file capability gives any right, from here on. */
void step_no_new_privs(void)
{
	must(sys(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
}

/* rlimit NAME RESOURCE SOFT HARD */
void step_rlimit(void)
{
	int resource = number();
	struct rlimit limit = { .rlim_cur = number() };

	limit.rlim_max = number();
	must(sys(prlimit64, 0, resource, &limit, NULL), "prlimit");
}
