/*
 * container.c: what happens between clone and exec.
 *
 * A static program, run from a sealed memory file by ringlet.container.launch.helper. It carries out
 * a plan, whose lines are steps, in the order in which the plan has them: `STEP WHAT [WORD...]`. The
 * step STEP is the function step_STEP; the table below says in which file. The order is the security,
 * and stands in ringlet.container.launch.plan.
 *
 * The steps up to `clone` are done by a process of the host, which ends there. Those after it are
 * done by its child, in the new namespaces: the container's process to be. The child is a child of the
 * process that started the helper, too, which can so wait for it.
 *
 * There is one thread, no heap and no C library. The first step that fails ends the helper, which
 * reports the step's name and its first word, the operation that failed, and the error's number.
 *
 * container.h has what the steps share: plan.c reads words, report.c reports, files.c and paths.c open
 * and make files.
 *
 * Source: OCI Runtime Specification 1.3, config.md and config-linux.md; each file names more.
 */
#include "container.h"

#include <linux/magic.h>
#include <sys/mman.h>

/* The steps by their files, in the order of the story. */
#define STEPS(STEP) \
	/* host.c: what the helper does first, as a process of the host */ \
	STEP(fds) STEP(hidden) STEP(cgroup) STEP(oom_score_adj) STEP(hard) \
	/* namespaces.c: those of others, and new ones with a new process */ \
	STEP(namespace) STEP(try) STEP(join) STEP(pids) STEP(join_pids) STEP(unified) \
	STEP(owner) STEP(clone) STEP(timens) STEP(unshare) STEP(apart) \
	/* process.c: the new process waits for ringlet, and leaves its maker's session */ \
	STEP(await) STEP(mounted) STEP(become) STEP(outlive) STEP(session) STEP(keyring) \
	/* settings.c: what the new namespaces are set to */ \
	STEP(loopback) STEP(hostname) STEP(domainname) STEP(sysctl) \
	/* mounts.c: trees of mounts that have no place yet */ \
	STEP(propagation) STEP(bind) STEP(same) STEP(park) STEP(take) STEP(attributes) STEP(idmap) \
	/* filesystem.c: new file systems */ \
	STEP(instead) STEP(filesystem) \
	/* layer.c: the layer over a root */ \
	STEP(layer) \
	/* peers.c: volumes that the host shares */ \
	STEP(peer) \
	/* attach.c: the trees get their places in the root */ \
	STEP(root) STEP(attach) STEP(at) STEP(folder) \
	/* copyup.c: what a mount covers is copied into it */ \
	STEP(copyup) \
	/* devices.c: devices and links */ \
	STEP(node) STEP(device) STEP(symlink) \
	/* pivot.c: the container's root becomes the root */ \
	STEP(pivot) STEP(move_root) STEP(chroot) \
	/* masks.c: what is covered or made read-only */ \
	STEP(readonly) STEP(null) STEP(mask) STEP(freeze_root) \
	/* close.c: nothing of the host is left */ \
	STEP(close) \
	/* streams.c: the terminal and the streams */ \
	STEP(console) STEP(streams) STEP(terminal) \
	/* hooks.c: programs that a configuration wants run meanwhile */ \
	STEP(hook) \
	/* scheduling.c: how the kernel runs the process */ \
	STEP(personality) STEP(scheduler) STEP(affinity) STEP(memory_policy) STEP(io_priority) \
	/* rights.c: what the process may do */ \
	STEP(apparmor) STEP(selinux) STEP(umask) STEP(bounding) STEP(user) STEP(cwd) \
	STEP(all_capabilities) STEP(capabilities) STEP(no_new_privs) STEP(rlimit) \
	/* seccomp.c: the filter of system calls */ \
	STEP(seccomp) \
	/* command.c: the command, found and run */ \
	STEP(command) STEP(exec) \
	/* start.c: the container is made, and waits for its start */ \
	STEP(stage) STEP(ready) STEP(wait) \
	/* guard.c: a process that ends containers whose maker has ended */ \
	STEP(guard) STEP(die)

#define DECLARATION(name) void step_##name(void);
STEPS(DECLARATION)

#define ENTRY(name) { #name, step_##name },
static const struct {
	const char *name;
	void (*run)(void);
} steps[] = { STEPS(ENTRY) };

static void run_step(void)
{
	step = text();
	what = optional();
	if (!what)
		what = "";
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (same(step, steps[i].name)) {
			steps[i].run();
			return;
		}
	}
	fail("no such step", EINVAL);
}

/* The words: a name, the descriptors of the plan and of the pipes to ringlet and back, the text's size. */
void program(int count, char **words)
{
	struct stat status;
	char *next, *end;
	int plan;

	if (count != 5)
		sys(exit_group, 125);
	plan = (int)parse(words[1]);
	control = (int)parse(words[2]);
	orders = (int)parse(words[3]);
	starters_umask = sys(umask, 0);
	must(sys(fstat, plan, &status), "fstat");
	/* A copy, in which `close` can wipe the lines that are done; others could open the file again. */
	next = (char *)must(sys(mmap, NULL, status.st_size, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
			    "mmap");
	if (must(sys(pread64, plan, next, status.st_size, 0), "read") != status.st_size)
		fail("a wrong size", EINVAL);
	plan_text = next;
	end = next + parse(words[4]);
	if (end > next + status.st_size || end == next || end[-1] != '\n')
		fail("a wrong size", EINVAL);
	blob = end;
	close_fd(&plan);
	host_proc = must(sys(openat, AT_FDCWD, "/proc", O_PATH | O_DIRECTORY | O_CLOEXEC), "open /proc");
	if (!is_on(host_proc, PROC_SUPER_MAGIC))
		fail("/proc is not procfs", ENODEV);
	while (next < end) {
		line = next;
		while (*next != '\n')
			next++;
		*next++ = '\0';
		run_step();
	}
	fail("the plan has no end", EINVAL);
}
