/*
 * container.c: what happens between clone and exec.
 *
 * A static program, run from a sealed memory file by ringlet.container.helper. It carries out a
 * plan, whose lines are steps, in the order in which the plan has them: `STEP WHAT [WORD...]`. In a
 * word, %XX is the byte of that hexadecimal number. A step is a function of this file, step_STEP,
 * found by the table at the end; the order is the security, and stands in ringlet.container.plan.
 *
 * The steps up to `clone` are done by a process of the host, which ends there. Those after it are
 * done by its child, in the new namespaces: the container's process to be. It is a child of the one
 * that started the helper, which can so wait for it.
 *
 * There is one thread, no heap and no C library. The first step that fails ends it all, and is
 * reported: its name and what, the operation in it, the error's number.
 *
 * Source: OCI Runtime Specification 1.3, config.md and config-linux.md; namespaces(7), clone(2),
 * setns(2), openat2(2), mount_setattr(2), pivot_root(2), capabilities(7), seccomp(2), pty(7); the
 * kernel's filesystems/mount_api.rst.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/sched/types.h>
#include <linux/seccomp.h>
#include <linux/filter.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>

#include "bare_x86_64.h"

#define PATH_SIZE 4096
#define LINKS_MAX 40 /* as the kernel's own walk */
#define MOUNTS_MAX 4096
#define WORDS_MAX (1 << 16)
#define STAGES_MAX 4
#define PASSWD_MAX (1 << 20) /* bytes that are looked at */
#define HOOK_SAYS 256 /* bytes of what a hook printed last, for the report */

#define DEVPTS_MAGIC 0x1cd1
#define SYS_fchmodat2 452 /* Linux 6.6 */
#define MNT_DETACH 2 /* <sys/mount.h> and <linux/mount.h> exclude each other */

/* ---- The plan and the report ---- */

static char *plan_text, *blob; /* what follows it */
static char *line, *step, *what;
static int control = -1; /* hears what happens: a socket of packets, the first byte says which */
static int host_proc = -1; /* procfs as this program's starter sees it: no file of the container's */
static mode_t starters_umask;
static int first_own; /* descriptors below it are the command's: the streams, and what is passed on */

static void __attribute__((noreturn)) fail(const char *operation, long error)
{
	char report[4096];
	size_t size = 1 + sizeof(int);
	const char *parts[] = { step ? step : "plan", what ? what : "", operation };
	int number = (int)error;

	report[0] = 'E';
	memcpy(report + 1, &number, sizeof(number));
	for (int i = 0; i < 3; i++) {
		size_t part = length(parts[i]);

		if (part > 1200)
			part = 1200;
		memcpy(report + size, parts[i], part);
		size += part;
		report[size++] = '\0';
	}
	sys(write, control, report, size); /* not send(): a seccomp filter may know no sockets */
	sys(exit_group, 125);
	__builtin_unreachable();
}

/* `result`, if it is no error. */
static long must(long result, const char *operation)
{
	if (result < 0)
		fail(operation, -result);
	return result;
}

/* The same, and the report has also what the operation was done to. */
static long must_on(long result, const char *operation, const char *object)
{
	char text[1200] = "";

	if (result < 0) {
		append(text, sizeof(text), operation);
		append(text, sizeof(text), " ");
		append(text, sizeof(text), object);
		fail(text, -result);
	}
	return result;
}

static void tell(char kind, int value)
{
	char report[1 + sizeof(value)] = { kind };

	memcpy(report + 1, &value, sizeof(value));
	must(sys(write, control, report, sizeof(report)), "telling ringlet");
}

static int hexadecimal(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The next word of the line; NULL if there is none. */
static char *optional(void)
{
	char *word = line, *to = line, *from = line;

	if (!line)
		return NULL;
	for (; *from && *from != ' '; from++) {
		int high, low;

		if (*from != '%') {
			*to++ = *from;
			continue;
		}
		high = hexadecimal(from[1]);
		low = high < 0 ? -1 : hexadecimal(from[2]);
		if (low < 0 || high + low == 0)
			fail("a wrong escape", EINVAL);
		*to++ = (char)(high << 4 | low);
		from += 2;
	}
	line = *from ? from + 1 : NULL;
	*to = '\0';
	return word;
}

static char *text(void)
{
	char *word = optional();

	if (!word)
		fail("a word is missing in the plan", EINVAL);
	return word;
}

static unsigned long parse(const char *digits)
{
	unsigned long value = 0;

	if (!*digits)
		fail("no number in the plan", EINVAL);
	for (; *digits; digits++) {
		if (*digits < '0' || *digits > '9' ||
		    __builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, *digits - '0', &value))
			fail("no number in the plan", EINVAL);
	}
	return value;
}

/* Whether the text, up to a colon, is this number. */
static int is_number(const char *digits, unsigned long value)
{
	char expected[24] = "";
	size_t size;

	append_number(expected, sizeof(expected), value);
	size = length(expected);
	for (size_t i = 0; i < size; i++)
		if (digits[i] != expected[i])
			return 0;
	return digits[size] == ':';
}

static unsigned long number(void)
{
	return parse(text());
}

static long signed_number(void)
{
	char *word = text();

	return *word == '-' ? -(long)parse(word + 1) : (long)parse(word);
}

/* ---- Small operations that several steps need ---- */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		sys(close, *fd);
	*fd = -1;
}

/* Writes a file of the kernel's, which takes it in one piece. */
static void write_file(int folder, const char *path, const char *content)
{
	int fd = must_on(sys(openat, folder, path, O_WRONLY | O_CLOEXEC), "open", path);

	must_on(sys(write, fd, content, length(content)), "write to", path);
	close_fd(&fd);
}

/* As the kernel takes and gives it: major numbers have 12 bits, minor ones 20. */
static dev_t make_device(unsigned major, unsigned minor)
{
	return (minor & 0xff) | (dev_t)(major & 0xfff) << 8 | (dev_t)(minor & 0xfff00) << 12;
}

static int is_type(int fd, mode_t type)
{
	struct stat status;

	must(sys(fstat, fd, &status), "fstat");
	return (status.st_mode & S_IFMT) == type;
}

static int is_device(int fd, mode_t type, dev_t device)
{
	struct stat status;

	must(sys(fstat, fd, &status), "fstat");
	return (status.st_mode & S_IFMT) == type && status.st_rdev == device;
}

static int is_on(int fd, long magic)
{
	struct statfs status;

	must(sys(fstatfs, fd, &status), "fstatfs");
	return status.f_type == magic;
}

/* The file that a descriptor stands for, once more, to be read or written: no path can lead elsewhere. */
static long open_again(int fd, int flags)
{
	char path[64] = "self/fd/";

	append_number(path, sizeof(path), fd);
	return sys(openat, host_proc, path, flags | O_CLOEXEC);
}

/* By a descriptor, which a path in a folder that others can write to is not (Linux 6.6 has a call). */
static long change_mode(int fd, mode_t mode)
{
	long result = sys(fchmodat2, fd, "", mode, AT_EMPTY_PATH);

	if (result == -ENOSYS || result == -EPERM) { /* a filter around us may not know the call */
		char path[64] = "self/fd/";

		append_number(path, sizeof(path), fd);
		result = sys(fchmodat, host_proc, path, mode);
	}
	return result;
}

/* A file of procfs, and surely of it: nothing mounted over it, no link is followed. */
static int open_proc(const char *path, int flags)
{
	struct open_how how = {
		.flags = (unsigned)flags | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS,
	};

	return must_on(sys(openat2, host_proc, path, &how, sizeof(how)), "open /proc/", path);
}

static void write_proc(const char *path, const char *content)
{
	int fd = open_proc(path, O_WRONLY);

	must_on(sys(write, fd, content, length(content)), "write to /proc/", path);
	close_fd(&fd);
}

/* /proc/self in words: open_proc follows no link, and /proc/self is one. */
static void own_path(char path[PATH_SIZE], const char *name)
{
	long size = must(sys(readlinkat, host_proc, "self", path, PATH_SIZE - 1), "/proc/self");

	path[size] = '\0';
	append(path, PATH_SIZE, "/");
	append(path, PATH_SIZE, name);
}

static void write_own(const char *name, const char *content)
{
	char path[PATH_SIZE];

	own_path(path, name);
	write_proc(path, content);
}

/* ---- Paths in the container ---- */

static int root = AT_FDCWD; /* the container's root: before pivot_root, and after */

/*
 * No link, no `..` and no rename at this moment leads out of the folder: with RESOLVE_IN_ROOT it is
 * the root, with RESOLVE_BENEATH to lead out of it is an error. The result says where, whatever the
 * path means later.
 */
static long lookup_in(int folder, const char *path, int flags, unsigned long resolve)
{
	struct open_how how = {
		.flags = (unsigned)flags | O_CLOEXEC,
		.resolve = RESOLVE_NO_MAGICLINKS | resolve,
	};
	long fd;

	do
		fd = sys(openat2, folder, path, &how, sizeof(how));
	while (fd == -EAGAIN); /* something was renamed meanwhile, so `..` isn't sure */
	return fd;
}

/* All in `path` is looked up as if the root were the container's (CVE-2021-30465). */
static long lookup(const char *path, int flags, unsigned long resolve)
{
	return lookup_in(root, path, flags, RESOLVE_IN_ROOT | resolve);
}

static long make_in(int folder, const char *name, mode_t type)
{
	return type == S_IFDIR ? sys(mkdirat, folder, name, 0755) :
				 sys(mknodat, folder, name, S_IFREG | 0644, 0);
}

/* Makes what is missing of `path`, also where a link on the way points to; gives its descriptor. */
static int make(const char *path, mode_t type)
{
	char done[2 * PATH_SIZE] = ".", rest[2 * PATH_SIZE] = "", name[PATH_SIZE];
	char *last_slash;
	int tries = 0;

	if (length(path) >= PATH_SIZE) /* before any folder of it is made */
		fail("the path is too long", ENAMETOOLONG);
	append(rest, sizeof(rest), path);
	/* Most often it's the last part alone, and the kernel walks faster than what follows. */
	if ((last_slash = find_last(rest, '/')) && last_slash > rest) {
		long parent, made;

		*last_slash = '\0';
		parent = lookup(rest, O_PATH | O_DIRECTORY, 0);
		*last_slash = '/';
		made = parent < 0 ? parent : make_in(parent, last_slash + 1, type);
		if (parent >= 0)
			sys(close, parent);
		if (!made)
			return must_on(lookup(path, O_PATH, 0), "open", path);
	}
	for (;;) {
		char *from = rest, *end, *slash;
		size_t size = length(done);
		int fd, last;

		while (*from == '/')
			from++;
		for (end = from; *end && *end != '/'; end++)
			;
		name[0] = '\0';
		if ((size_t)(end - from) >= sizeof(name))
			fail("the path is too long", ENAMETOOLONG);
		memcpy(name, from, end - from);
		name[end - from] = '\0';
		while (*end == '/')
			end++;
		last = !*end;
		if (same(name, "..")) {
			if ((slash = find_last(done, '/')))
				*slash = '\0';
		} else if (*name && !same(name, ".")) {
			append(done, sizeof(done), "/");
			append(done, sizeof(done), name);
		}
		if (length(done) >= PATH_SIZE)
			fail("the path is too long", ENAMETOOLONG);
		fd = lookup(done, O_PATH | O_NOFOLLOW, 0);
		if (fd == -ENOENT) {
			int parent;
			long made;

			done[size] = '\0';
			parent = must_on(lookup(done, O_PATH | O_DIRECTORY, 0), "open", done);
			made = make_in(parent, name, last ? type : S_IFDIR);
			close_fd(&parent);
			if (made != -EEXIST)
				must_on(made, "make", path);
			if (++tries > 1000)
				fail("it changes all the time", ELOOP);
			continue; /* to what is there now */
		}
		must_on(fd, "open", done);
		if (is_type(fd, S_IFLNK)) {
			char target[2 * PATH_SIZE];
			long count = must(sys(readlinkat, fd, "", target, PATH_SIZE), "readlink");

			close_fd(&fd);
			if (count >= PATH_SIZE || ++tries > LINKS_MAX)
				fail("too many links", ELOOP);
			target[count] = '\0';
			append(target, sizeof(target), "/");
			append(target, sizeof(target), end);
			done[*target == '/' ? 1 : size] = '\0';
			rest[0] = '\0';
			append(rest, sizeof(rest), target);
			continue;
		}
		if (last)
			return fd;
		close_fd(&fd);
		memcpy(rest, end, length(end) + 1);
	}
}

/* The folder that `path` is in, made if it isn't there; *name is where its last part begins. */
static int make_parent(const char *path, const char **name)
{
	char folder[PATH_SIZE] = "";
	char *slash;
	long fd;

	append(folder, sizeof(folder), path);
	slash = find_last(folder, '/');
	if (!slash || length(path) >= sizeof(folder))
		fail("no path", EINVAL);
	*name = path + (slash - folder) + 1;
	*slash = '\0';
	fd = lookup(folder, O_PATH | O_DIRECTORY, 0);
	return fd >= 0 ? fd : make(folder, S_IFDIR);
}

/* ---- Steps of the host: as whoever started ringlet ---- */

/*
 * fds WHAT FIRST: all descriptors from FIRST on are closed by exec, whatever ringlet's process
 * had open (CVE-2024-21626). Below are the streams and those that are to be passed on.
 */
static void step_fds(void)
{
	first_own = number();
	must(sys(close_range, first_own, ~0U, CLOSE_RANGE_CLOEXEC), "close_range");
}

/*
 * hidden: who has no CAP_SYS_PTRACE of the host can't look into this process, or trace it. Its files
 * in /proc are the host's root's from here on: what a user has to write there is written before.
 */
static void step_hidden(void)
{
	must(sys(prctl, PR_SET_DUMPABLE, 0), "prctl");
}


/*
 * cgroup TASKS: joins by a file `tasks` of version 1, which moves one thread, and takes a fiftieth
 * of the time of `cgroup.procs`. What is forked from here on is in the cgroup.
 */
static void step_cgroup(void)
{
	write_file(AT_FDCWD, what, "0");
}

/* oom_score_adj VALUE: before a user namespace, in which it can't be lowered. */
static void step_oom_score_adj(void)
{
	write_own("oom_score_adj", what);
}

/*
 * hard NAME RESOURCE HARD: raises a hard limit, while there is the right to. The limits themselves
 * are set last: they could be too tight for what is to be done before.
 */
static void step_hard(void)
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
static void step_namespace(void)
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

static void step_try(void)
{
	join(1);
}

static void step_join(void)
{
	join(0);
}

static int pid_namespace = -1;

/*
 * pids PATH: opens a process id namespace. Where it takes rights that a user namespace gives, the plan
 * has it once more, after that.
 */
static void step_pids(void)
{
	long opened = pid_namespace;

	if (opened < 0)
		opened = open_namespace(what);
	if (opened != -EACCES)
		pid_namespace = must(opened, "open");
}

/* join_pids PATH: the processes that this one makes from here on are in it. */
static void step_join_pids(void)
{
	if (pid_namespace < 0)
		fail("open", EACCES);
	must(sys(setns, pid_namespace, CLONE_NEWPID), "setns");
}

/* enter PID PIDFD TYPES: all these namespaces of a process at once. */
static void step_enter(void)
{
	int pidfd = number();

	must(sys(setns, pidfd, number()), "setns");
}

static int unified = -1;
static long outer_pid; /* this process, as ringlet sees it */

/* unified FOLDER: the cgroup of version 2 for the child; here, for it may not be seen later. */
static void step_unified(void)
{
	unified = must(sys(openat, AT_FDCWD, what, O_PATH | O_DIRECTORY | O_CLOEXEC), "open");
}

static char mount_table[1 << 20]; /* for `move_root` */

/*
 * clone KIND FLAGS: new namespaces, and the child, which goes on with the plan. It is born in its cgroup
 * of version 2. This process is done. KIND tells ringlet what the child is: `container`, a process
 * of the container's; or `helper`, one more of these, which will make that.
 */
static void step_clone(void)
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

/* ---- Steps of the new process ---- */

/*
 * await: what ringlet has to do for this process is done when ringlet says so: its ids are mapped, or
 * hooks of the host have run. With it comes this process's id as ringlet sees it.
 */
static void step_await(void)
{
	char go[1 + sizeof(int)];
	long size;
	int pid;

	do
		size = sys(read, control, go, sizeof(go));
	while (size == -EINTR);
	if (size != sizeof(go))
		fail("ringlet has ended", size < 0 ? -size : ECANCELED);
	memcpy(&pid, go + 1, sizeof(pid));
	outer_pid = pid;
}

/* mounted: hooks of the host that come before pivot_root may run; they end before `await` does. */
static void step_mounted(void)
{
	tell('M', 0);
}

/* become: root of the new user namespace. What is made from here on belongs to it. */
static void step_become(void)
{
	must(sys(setresgid, 0, 0, 0), "setresgid");
	must(sys(setresuid, 0, 0, 0), "setresuid");
	/* A change of ids has taken it back. */
	must(sys(prctl, PR_SET_PDEATHSIG, SIGKILL), "prctl");
}

/* session: a signal for the terminal of ringlet's user isn't for the container. */
static void step_session(void)
{
	must(sys(setsid), "setsid");
}

/* terminal: the pseudo-terminal of `console` controls the new session. */
static void step_terminal(void)
{
	must(sys(ioctl, 0, TIOCSCTTY, 0), "TIOCSCTTY");
}

/* keyring: a session keyring of its own, with none of the keys of ringlet's user. */
static void step_keyring(void)
{
	long result = sys(keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);

	if (result != -ENOSYS)
		must(result, "keyctl");
}

/* loopback: a new network namespace has it, but down. */
static void step_loopback(void)
{
	struct ifreq request = { .ifr_name = "lo" };
	int fd = must(sys(socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");

	must(sys(ioctl, fd, SIOCGIFFLAGS, &request), "SIOCGIFFLAGS");
	request.ifr_flags |= IFF_UP;
	must(sys(ioctl, fd, SIOCSIFFLAGS, &request), "SIOCSIFFLAGS");
	close_fd(&fd);
}

/*
 * timens OFFSETS: a time namespace for what comes after exec (Linux 6.1). Its offsets can be set
 * only while no process is in it, so it is none of those made with the process.
 */
static void step_timens(void)
{
	must(sys(unshare, CLONE_NEWTIME), "unshare");
	if (*what)
		write_own("timens_offsets", what);
}

/* unshare KIND FLAG: a cgroup namespace begins at the cgroup that who makes it is in by then. */
static void step_unshare(void)
{
	must(sys(unshare, number()), "unshare");
}

static void step_hostname(void)
{
	must(sys(sethostname, what, length(what)), "sethostname");
}

static void step_domainname(void)
{
	must(sys(setdomainname, what, length(what)), "setdomainname");
}

/*
 * sysctl NAME PATH VALUE: ringlet has checked that it is of a namespace of the container's. It is
 * written through the host's procfs: the container's own could be anything.
 */
static void step_sysctl(void)
{
	char path[PATH_SIZE] = "sys/";

	append(path, sizeof(path), text());
	write_proc(path, text());
}

/* ---- Mounts ---- */

static int mounts[MOUNTS_MAX]; /* those made and not yet attached, by the plan's numbers */

static int *mount_slot(void)
{
	unsigned long slot = number();

	if (slot >= MOUNTS_MAX)
		fail("too many mounts", E2BIG);
	return &mounts[slot];
}

/*
 * The file systems that this plan has made, and the root: what is changed on others, changes the
 * host's files. By their ids, of which the kernel gives no two mounts the same.
 */
static uint64_t own_mounts[MOUNTS_MAX];
static size_t own_count;

static uint64_t mount_id(int fd)
{
	struct statx status;

	must(sys(statx, fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &status), "statx");
	if (!(status.stx_mask & STATX_MNT_ID))
		fail("this kernel doesn't tell what is mounted where", ENOSYS);
	return status.stx_mnt_id;
}

static void is_made_here(int mount)
{
	if (own_count == MOUNTS_MAX)
		fail("too many mounts", E2BIG);
	own_mounts[own_count++] = mount_id(mount);
}

static int is_own(int fd)
{
	uint64_t id = mount_id(fd);

	for (size_t i = 0; i < own_count; i++)
		if (own_mounts[i] == id)
			return 1;
	return 0;
}

/*
 * propagation PATH FLAGS: first of all, what is mounted in here shows nowhere else. pivot_root
 * needs it, too. At the end, it is as the configuration says.
 */
static void step_propagation(void)
{
	must(sys(mount, NULL, what, NULL, number(), NULL), "mount");
}

/* bind TARGET SLOT SOURCE RECURSIVE: a copy of a tree of mounts, attached to nothing. */
static void step_bind(void)
{
	int *slot = mount_slot();
	const char *source = text();

	*slot = must_on(sys(open_tree, AT_FDCWD, source,
			    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (number() ? AT_RECURSIVE : 0)),
			"open_tree", source);
}

/* same TARGET SLOT FD: the tree begins at this folder, and not at what has its name by now. */
static void step_same(void)
{
	struct stat tree, folder;

	must(sys(fstat, *mount_slot(), &tree), "fstat");
	must(sys(fstat, number(), &folder), "fstat");
	if (tree.st_dev != folder.st_dev || tree.st_ino != folder.st_ino)
		fail("it is another folder by now", ESTALE);
}

/* The kernel's own words about a file system it won't make, if it has some. */
static void must_fs(int fs, long result, const char *operation, const char *object)
{
	char words[1200] = "", message[512];
	long size;

	if (result >= 0)
		return;
	append(words, sizeof(words), operation);
	append(words, sizeof(words), object);
	while ((size = sys(read, fs, message, sizeof(message) - 1)) > 2) {
		message[size] = '\0';
		append(words, sizeof(words), "; ");
		append(words, sizeof(words), message + 2); /* after "e " */
	}
	fail(words, -result);
}

/*
 * park PATH SLOT...: these trees go to a mount namespace, of which the container's becomes a copy. What
 * a user namespace gets by a copy it can't undo (mount_namespaces(7)): read-only stays so, and
 * what is mounted over something stays there. They lie in this process's working directory, which
 * becomes that of the copy. It is at PATH, where the root will be.
 */
static void step_park(void)
{
	struct mount_attr slave = { .propagation = MS_SLAVE };
	int fs, place;

	must(sys(unshare, CLONE_NEWNS), "unshare");
	must(sys(mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &slave, sizeof(slave)), "mount_setattr");
	fs = must(sys(fsopen, "tmpfs", FSOPEN_CLOEXEC), "fsopen tmpfs");
	must_fs(fs, sys(fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0), "making ", "tmpfs");
	place = must(sys(fsmount, fs, FSMOUNT_CLOEXEC, 0), "fsmount");
	close_fd(&fs);
	must(sys(move_mount, place, "", AT_FDCWD, what, MOVE_MOUNT_F_EMPTY_PATH), "move_mount");
	must(sys(fchdir, place), "chdir");
	while (line) {
		int *slot = mount_slot();
		char name[24] = "";

		append_number(name, sizeof(name), slot - mounts);
		if (is_type(*slot, S_IFDIR))
			must(sys(mkdirat, place, name, 0700), "mkdir");
		else
			must(sys(mknodat, place, name, S_IFREG, 0), "mknod");
		must(sys(move_mount, *slot, "", place, name, MOVE_MOUNT_F_EMPTY_PATH), "move_mount");
		close_fd(slot);
	}
	close_fd(&place);
}

/* take WHAT SLOT...: what was parked, from the copy. */
static void step_take(void)
{
	while (line) {
		int *slot = mount_slot();
		char name[24] = "";

		append_number(name, sizeof(name), slot - mounts);
		*slot = must(sys(open_tree, AT_FDCWD, name,
				 OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE),
			     "open_tree");
	}
	must(sys(chdir, "/"), "chdir");
}

static const char *instead;

/*
 * instead TARGET TREE: where the next `filesystem` is refused, this tree of the host's is mounted,
 * read-only. sysfs and cgroups are for who owns the namespace that they show.
 */
static void step_instead(void)
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
		.propagation = MS_SLAVE,
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
 * Whether procfs can be made of a process id namespace that this process isn't in (Linux 6.17). *fs is
 * then told to be of that one.
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

/* A process that shares memory and descriptors with this one, which waits; there 0. */
#define clone_inside() sys(clone, CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, 0, 0, 0, 0)

static void await_inside(long pid)
{
	int status = 0;

	sys(wait4, pid, &status, 0, NULL);
	if (status)
		sys(exit_group, 125); /* why, the other one has told */
}

/*
 * Before Linux 6.17: by a process in the namespace, which those in there see for this moment. The one
 * between them joins the namespace, for this process has yet to run hooks, outside of it.
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

/* filesystem TARGET SLOT TYPE SOURCE ATTRIBUTES OPTION...: a new one, attached to nothing. */
static void step_filesystem(void)
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

/* attributes TARGET SLOT RECURSIVE SET CLEAR PROPAGATION */
static void step_attributes(void)
{
	int fd = *mount_slot();
	unsigned recursive = number() ? AT_RECURSIVE : 0;
	struct mount_attr attr = { .attr_set = number() };

	attr.attr_clr = number();
	attr.propagation = number();
	must(sys(mount_setattr, fd, "", AT_EMPTY_PATH | recursive, &attr, sizeof(attr)),
	     "mount_setattr");
}

/*
 * idmap TARGET SLOT RECURSIVE UIDS GIDS: ids of its files are mapped as in a user namespace with
 * these maps. A child makes one, holds it until it is open, and ends.
 */
static void step_idmap(void)
{
	int fd = *mount_slot(), up[2], status;
	unsigned recursive = number() ? AT_RECURSIVE : 0;
	const char *uids = text(), *gids = text();
	struct clone_args args = { .flags = CLONE_NEWUSER, .exit_signal = SIGCHLD };
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP };
	char folder[32] = "";
	int pid, proc, userns;
	long result;
	char byte;

	must(sys(pipe2, up, O_CLOEXEC), "pipe");
	pid = must(sys(clone3, &args, sizeof(args)), "clone3 of a user namespace");
	if (!pid) {
		sys(close, up[1]);
		sys(read, up[0], &byte, 1); /* until its parent goes on, or ends */
		sys(exit_group, 0);
	}
	close_fd(&up[0]);
	append_number(folder, sizeof(folder), pid);
	proc = open_proc(folder, O_PATH | O_DIRECTORY);
	write_file(proc, "uid_map", uids);
	write_file(proc, "gid_map", gids);
	userns = must(sys(openat, proc, "ns/user", O_RDONLY | O_CLOEXEC), "open ns/user");
	close_fd(&up[1]);
	attr.userns_fd = userns;
	result = sys(mount_setattr, fd, "", AT_EMPTY_PATH | recursive, &attr, sizeof(attr));
	sys(wait4, pid, &status, 0, NULL);
	must(result, "mount_setattr with an id map");
	close_fd(&userns);
	close_fd(&proc);
}

static int is_the_hosts_root(int fd)
{
	struct stat status, host;

	must(sys(fstat, fd, &status), "fstat");
	must(sys(newfstatat, AT_FDCWD, "/", &host, 0), "stat");
	return status.st_dev == host.st_dev && status.st_ino == host.st_ino;
}

/* A new tmpfs of `size`, attached to nothing, with the folders of a layer over `lower`. */
static int make_upper(int lower, const char *size)
{
	int fs = must(sys(fsopen, "tmpfs", FSOPEN_CLOEXEC), "fsopen tmpfs"), upper;
	struct stat status;
	long done;

	must_fs(fs, sys(fsconfig, fs, FSCONFIG_SET_STRING, "size", size, 0), "size=", size);
	must_fs(fs, sys(fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0), "making ", "tmpfs");
	upper = must(sys(fsmount, fs, FSMOUNT_CLOEXEC, 0), "fsmount");
	close_fd(&fs);
	must(sys(mkdirat, upper, "work", 0700), "mkdir");
	must(sys(mkdirat, upper, "upper", 0700), "mkdir");
	/* This folder is the root that is seen: as the one below it. */
	must(sys(fstat, lower, &status), "fstat");
	done = sys(fchownat, upper, "upper", status.st_uid, status.st_gid, 0);
	if (done != -EINVAL) /* an owner who is nobody in here: the container's root has it then */
		must(done, "chown");
	must(sys(fchmodat, upper, "upper", status.st_mode & 07777), "chmod");
	return upper;
}

static void set_overlay(int fs, const char *key, const char *value)
{
	must_fs(fs, sys(fsconfig, fs, FSCONFIG_SET_STRING, key, value, 0), key, value);
}

static void set_layer(int fs, const char *key, int fd, const char *below)
{
	char path[64] = "/proc/self/fd/";

	append_number(path, sizeof(path), fd);
	append(path, sizeof(path), below);
	set_overlay(fs, key, path);
}

/*
 * layer TARGET SLOT SIZE HOST: what is written to the tree goes to a layer over it, a tmpfs of that
 * size. The container's mount namespace alone has it, and it ends with that, however that ends.
 * What is mounted in the tree isn't seen. With HOST 1 this process has the host's rights: then
 * a folder can be renamed, and a change of owner or mode copies no data.
 */
static void step_layer(void)
{
	int *slot = mount_slot(), upper = make_upper(*slot, text()), host = number(), fs = -1;
	int attached = 0;
	long made;

	for (;;) {
		fs = must(sys(fsopen, "overlay", FSOPEN_CLOEXEC), "fsopen overlay");
		set_overlay(fs, "source", "layer");
		set_layer(fs, "lowerdir", *slot, "");
		set_layer(fs, "upperdir", upper, "/upper");
		set_layer(fs, "workdir", upper, "/work");
		if (host) {
			set_overlay(fs, "redirect_dir", "on");
			set_overlay(fs, "metacopy", "on");
		} else {
			must_fs(fs, sys(fsconfig, fs, FSCONFIG_SET_FLAG, "userxattr", NULL, 0),
				"userxattr", "");
		}
		made = sys(fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
		if (made != -EINVAL || attached)
			break;
		/* Before Linux 6.15, layers have to be in this mount namespace: in a new one. */
		attached = 1;
		close_fd(&fs);
		must(sys(unshare, CLONE_NEWNS), "unshare");
		must(sys(mount, NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), "mount");
		must(sys(move_mount, *slot, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH), "move_mount");
		must(sys(move_mount, upper, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH), "move_mount");
	}
	must_fs(fs, made, "making ", "overlay");
	/* The overlay has copies. And who has a mount over `/` may make no user namespace. */
	for (int i = 0; attached && i < 2; i++)
		must(sys(umount2, "/", MNT_DETACH), "umount");
	close_fd(slot);
	close_fd(&upper);
	*slot = must(sys(fsmount, fs, FSMOUNT_CLOEXEC, 0), "fsmount");
	close_fd(&fs);
}

/*
 * root PATH SLOT: the tree becomes the root to be. It is mounted at its path, where hooks look for it,
 * and where what a hook mounts is mounted in it. Where the container's root can't reach the path, it
 * is mounted over `/`, which doesn't change what paths mean until pivot_root.
 */
static void step_root(void)
{
	long place = sys(openat, AT_FDCWD, what, O_PATH | O_DIRECTORY | O_CLOEXEC);

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
 * What is mounted at /proc and /sys. What is protected is looked up in there: by its whole path it
 * would be missed while somebody who can write the root's folder has renamed /proc (CVE-2025-52881).
 */
static struct {
	const char *path;
	int fd;
} kernels[] = { { "/proc", -1 }, { "/sys", -1 } };

static long lookup_protected(const char *path)
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

/*
 * attach TARGET SLOT LINKS KEPT: mounts it there, and with KEPT 1 the slot stays, to change it later. What isn't there is made, of the kind of the mount.
 * With LINKS 0, the path may have none: procfs and sysfs have to be where they seem to be.
 */
static void step_attach(void)
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
	must(sys(move_mount, *slot, "", target, "",
		 MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH),
	     "move_mount");
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

/* at TARGET SLOT: what is mounted there already, to change it. */
static void step_at(void)
{
	int *slot = mount_slot();

	*slot = must(lookup(what, O_PATH, 0), "open");
}

static void copy_file(int from, int to, const char *name, struct stat *status);

/* Copies the entries of the folder `from` into `to`; both are in the container. */
static void copy_folder(int from, int to, int depth)
{
	char entries[4096];
	long size;

	if (depth > 100)
		fail("copying: too deep", ELOOP);
	if (is_on(from, PROC_SUPER_MAGIC) || is_on(from, SYSFS_MAGIC)) /* by a link of the image's */
		fail("copying: what is there is the kernel's", EINVAL);
	while ((size = must(sys(getdents64, from, entries, sizeof(entries)), "getdents")) > 0) {
		for (long at = 0; at < size;) {
			struct {
				uint64_t inode, offset;
				uint16_t size;
				uint8_t type;
				char name[];
			} *entry = (void *)(entries + at);
			struct stat status;
			int source, copy;

			at += entry->size;
			if (same(entry->name, ".") || same(entry->name, ".."))
				continue;
			must_on(sys(newfstatat, from, entry->name, &status, AT_SYMLINK_NOFOLLOW), "stat",
				entry->name);
			if (!S_ISDIR(status.st_mode)) {
				copy_file(from, to, entry->name, &status);
				continue;
			}
			must_on(sys(mkdirat, to, entry->name, 0700), "mkdir", entry->name);
			source = must_on(sys(openat, from, entry->name,
					     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
					 "open", entry->name);
			/* Of what was opened: the name may be another folder's by now. */
			must_on(sys(fstat, source, &status), "stat", entry->name);
			copy = must_on(sys(openat, to, entry->name,
					   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
				       "open", entry->name);
			copy_folder(source, copy, depth + 1);
			must_on(sys(fchown, copy, status.st_uid, status.st_gid), "chown", entry->name);
			must_on(sys(fchmod, copy, status.st_mode & 07777), "chmod", entry->name);
			close_fd(&source);
			close_fd(&copy);
		}
	}
}

static void copy_file(int from, int to, const char *name, struct stat *status)
{
	char target[PATH_SIZE];
	long size;
	int found, source, copy;

	if (S_ISLNK(status->st_mode)) {
		size = must_on(sys(readlinkat, from, name, target, sizeof(target) - 1), "readlink", name);
		target[size] = '\0';
		must_on(sys(symlinkat, target, to, name), "symlink", name);
		must_on(sys(fchownat, to, name, status->st_uid, status->st_gid, AT_SYMLINK_NOFOLLOW),
			"chown", name);
		return;
	}
	if (!S_ISREG(status->st_mode)) {
		struct statfs system;

		must(sys(fstatfs, from, &system), "fstatfs");
		if (system.f_flags & ST_NODEV && (S_ISCHR(status->st_mode) || S_ISBLK(status->st_mode)))
			return; /* it is none there, and the copy would be one */
		must_on(sys(mknodat, to, name, status->st_mode, status->st_rdev), "mknod", name);
		must_on(sys(fchownat, to, name, status->st_uid, status->st_gid, AT_SYMLINK_NOFOLLOW),
			"chown", name);
		return;
	}
	/* To open a device, or a pipe, would do something: what is there now, is it still a file? */
	found = must_on(sys(openat, from, name, O_PATH | O_NOFOLLOW | O_CLOEXEC), "open", name);
	must_on(sys(fstat, found, status), "stat", name);
	if (!S_ISREG(status->st_mode))
		fail("it changes meanwhile", EAGAIN);
	source = must_on(open_again(found, O_RDONLY), "open", name);
	close_fd(&found);
	copy = must_on(sys(openat, to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), "make",
		       name);
	while ((size = must_on(sys(sendfile, copy, source, NULL, 1 << 20), "copy", name)) > 0)
		;
	must_on(sys(fchown, copy, status->st_uid, status->st_gid), "chown", name);
	must_on(sys(fchmod, copy, status->st_mode & 07777), "chmod", name);
	close_fd(&source);
	close_fd(&copy);
}

/* copyup TARGET SLOT: what the folder there holds, copied into the mount that will cover it. */
static void step_copyup(void)
{
	int to = must(sys(openat, *mount_slot(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open");
	long from = lookup(what, O_RDONLY | O_DIRECTORY, 0);
	struct stat status;

	if (from == -ENOENT) {
		close_fd(&to);
		return;
	}
	must(from, "open");
	copy_folder(from, to, 0);
	must(sys(fstat, from, &status), "stat");
	must(sys(fchown, to, status.st_uid, status.st_gid), "chown");
	must(sys(fchmod, to, status.st_mode & 07777), "chmod");
	sys(close, from);
	close_fd(&to);
}

/* folder PATH: made if it isn't there; the working directory is one. */
static void step_folder(void)
{
	int fd = make(what, S_IFDIR);

	close_fd(&fd);
}

/* ---- Devices ---- */

/*
 * The folder of `path`, made if it isn't there; -1 if it is in a file system that isn't the container's
 * own. *name is where the last part begins.
 */
static int own_parent(const char *path, const char **name)
{
	char folder[PATH_SIZE] = "";
	char *slash;
	int parent;
	long fd = -ENOENT;

	if (length(path) >= sizeof(folder))
		fail("the path is too long", ENAMETOOLONG);
	append(folder, sizeof(folder), path);
	while (fd == -ENOENT && (slash = find_last(folder, '/'))) {
		*slash = '\0';
		fd = lookup(*folder ? folder : "/", O_PATH | O_DIRECTORY, 0);
	}
	must(fd, "open");
	parent = is_own(fd) ? make_parent(path, name) : -1;
	sys(close, fd);
	if (parent >= 0 && !is_own(parent)) /* it was renamed, or is a link, meanwhile */
		close_fd(&parent);
	return parent;
}

/* Whether there is this device at `path`; with what mode, and whose, is its file system's business. */
static int has_device(const char *path, mode_t type, dev_t device)
{
	long fd = lookup(path, O_PATH | O_NOFOLLOW, 0);
	int is_it = fd >= 0 && is_device(fd, type, device);

	if (fd >= 0)
		sys(close, fd);
	return is_it;
}

/*
 * A device of the host's is mounted read-only: it is read and written as ever, and its mode and owner,
 * which are the host's, stay. Root of the container may be who owns it.
 */
static void keep_inode(int mount)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
	};

	must(sys(mount_setattr, mount, "", AT_EMPTY_PATH, &attr, sizeof(attr)), "mount_setattr");
}

/*
 * device PATH TYPE MAJOR MINOR MODE UID GID NEEDED: in a file system of the container's own. In one of
 * the host's nothing is made or changed: what is NEEDED has to be there.
 * Where the right to make one is missing, as in a user namespace, the host's of the same path is
 * mounted, if it is the same device.
 */
static void step_device(void)
{
	const char *name;
	int parent = own_parent(what, &name), fd, target;
	char type = *text();
	mode_t mode = type == 'c' || type == 'u' ? S_IFCHR : type == 'b' ? S_IFBLK : S_IFIFO;
	unsigned major = number(), minor = number();
	dev_t device = mode == S_IFIFO ? 0 : make_device(major, minor);
	mode_t bits = number();
	unsigned uid = number(), gid = number();
	long result;

	if (parent < 0) {
		if (number() && !has_device(what, mode, device))
			fail("it would be made in a folder that is mounted from the host", EXDEV);
		return;
	}
	result = sys(mknodat, parent, name, mode | bits, device);
	if (result == -EPERM && mode != S_IFIFO) {
		fd = must(sys(open_tree, AT_FDCWD, what, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC),
			  "mknod is not permitted here, and the host's can't be opened");
		if (!is_device(fd, mode, device))
			fail("the host's is another device", ENODEV);
		keep_inode(fd);
		target = make(what, S_IFREG);
		must(sys(move_mount, fd, "", target, "",
			 MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH),
		     "move_mount");
		close_fd(&target);
		close_fd(&fd);
	} else {
		if (result != -EEXIST)
			must(result, "mknod");
		/* By its descriptor: what the name means, others may change. */
		fd = must(sys(openat, parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC), "open");
		if (!is_device(fd, mode, device))
			fail("there is something else", EEXIST);
		if (is_own(fd)) { /* else the host's own is mounted there */
			must(sys(fchownat, fd, "", uid, gid, AT_EMPTY_PATH), "chown");
			must(change_mode(fd, bits), "chmod");
		}
		close_fd(&fd);
	}
	close_fd(&parent);
}

/* symlink PATH TEXT: takes the place of a file, in a file system of the container's own. */
static void step_symlink(void)
{
	const char *name, *target = text();
	int parent = own_parent(what, &name);
	long result;

	if (parent < 0)
		return;
	result = sys(symlinkat, target, parent, name);
	if (result == -EEXIST) {
		must(sys(unlinkat, parent, name, 0), "unlink");
		result = sys(symlinkat, target, parent, name);
	}
	must(result, "symlink");
	close_fd(&parent);
}

/* ---- The new root ---- */

/*
 * pivot: the old root goes on top of the new one, and away. Nothing of it can be reached then, but
 * by descriptors, which are closed by exec.
 */
static void step_pivot(void)
{
	must(sys(fchdir, root), "fchdir");
	must(sys(pivot_root, ".", "."), "pivot_root");
	/* To umount, `.` is what is on top. It is a slave: at the host, all stays mounted. */
	must(sys(umount2, ".", MNT_DETACH), "umount");
	must(sys(chdir, "/"), "chdir");
}

/* Turns the escapes of a path in mountinfo into what they stand for, and ends it there; what follows. */
static char *mountinfo_word(char *word)
{
	char *to = word, *from = word;

	for (; *from && *from != ' '; from++) {
		if (*from == '\\' && from[1] && from[2] && from[3]) {
			*to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 3;
		} else {
			*to++ = *from;
		}
	}
	from = *from ? from + 1 : from;
	*to = '\0';
	return from;
}

static void cover(const char *path)
{
	int fs, mount, target;

	if (!sys(umount2, path, MNT_DETACH))
		return;
	/* It is one of another user namespace, which can't be taken away. */
	target = sys(openat, AT_FDCWD, path, O_PATH | O_CLOEXEC);
	if (target == -ENOENT || target == -EACCES)
		return; /* it went with the one that it was on */
	must_on(target, "open", path);
	fs = must(sys(fsopen, "tmpfs", FSOPEN_CLOEXEC), "fsopen");
	must(sys(fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0), "fsconfig");
	mount = must(sys(fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY), "fsmount");
	if (is_type(target, S_IFDIR))
		must_on(sys(move_mount, mount, "", target, "",
			    MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH),
			"covering", path);
	close_fd(&mount);
	close_fd(&fs);
	close_fd(&target);
}

/*
 * The host's procfs and sysfs, outside of the root, are taken away. While they are there, bare, any
 * user namespace in the container may mount new ones, without what is masked (the kernel allows
 * no more than is visible already: mount_too_revealing in fs/namespace.c).
 */
static void cover_kernels(const char *inside)
{
	char path[PATH_SIZE], *const table = mount_table;
	size_t size = 0, below = length(inside);
	long count;
	int fd;

	own_path(path, "mountinfo");
	fd = open_proc(path, O_RDONLY);
	while ((count = must(sys(read, fd, table + size, sizeof(mount_table) - 1 - size), "read mountinfo")) > 0)
		size += count;
	if (size == sizeof(mount_table) - 1)
		fail("too many mounts", E2BIG);
	close_fd(&fd);
	for (char *at = table, *next; *at; at = next) {
		char *end = find(at, '\n'), *place = at, *type;

		next = end ? end + 1 : at + length(at);
		if (end)
			*end = '\0';
		for (int words = 0; words < 4 && place; words++) /* id, parent, device, root */
			place = (place = find(place, ' ')) ? place + 1 : NULL;
		if (!place)
			continue;
		type = mountinfo_word(place);
		while (*type && (type[0] != '-' || type[1] != ' ')) /* options, and optional fields */
			type = find(type, ' ') ? find(type, ' ') + 1 : type + length(type);
		if (!*type)
			continue;
		mountinfo_word(type += 2);
		if (!same(type, "proc") && !same(type, "sysfs"))
			continue;
		if (below > 1 && !memcmp(place, inside, below) && (place[below] == '/' || !place[below]))
			continue;
		cover(place);
	}
}

/*
 * move_root: the weaker way, for a root that can't be pivoted from (an initramfs). The new one covers the
 * old one, which stays below.
 */
static void step_move_root(void)
{
	char path[PATH_SIZE];

	must(sys(fchdir, root), "fchdir");
	must(sys(getcwd, path, sizeof(path)), "getcwd");
	cover_kernels(path);
	if (!same(path, "/")) /* where `root` has mounted it, else */
		must(sys(move_mount, root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH), "move_mount");
	must(sys(fchdir, root), "fchdir");
	must(sys(chroot, "."), "chroot");
	must(sys(chdir, "/"), "chdir");
}

/*
 * chroot PATH: for a container without a mount namespace. Who has CAP_SYS_CHROOT gets out of it; so the
 * configuration may not grant that.
 */
static void step_chroot(void)
{
	must(sys(chdir, what), "chdir");
	must(sys(chroot, "."), "chroot");
}

/* What is mounted over the root would be beside it: the process's root stays the one below. */
static void refuse_root(int target)
{
	struct stat status, top;

	must(sys(fstat, target, &status), "fstat");
	must(sys(fstat, root, &top), "fstat");
	if (status.st_dev == top.st_dev && status.st_ino == top.st_ino && mount_id(target) == mount_id(root))
		fail("it is the root itself, for which there is root.readonly", EINVAL);
}

/* readonly PATH, recursively; what isn't there needs no protection. */
static void step_readonly(void)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
	long target = lookup_protected(what);
	int tree;

	if (target == -ENOENT || target == -ENOTDIR)
		return;
	must(target, "open");
	refuse_root(target);
	tree = must(sys(open_tree, target, "",
			OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE),
		    "open_tree");
	must(sys(mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)),
	     "mount_setattr");
	must(sys(move_mount, tree, "", target, "",
		 MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH),
	     "move_mount");
	close_fd(&tree);
	sys(close, target);
}

static int null_device = -1;

/*
 * null: the device that covers files. It is the host's, opened before the root changes, and looked
 * at: the container's /dev/null may have become anything else.
 */
static void step_null(void)
{
	null_device = must(sys(openat, AT_FDCWD, "/dev/null", O_PATH | O_NOFOLLOW | O_CLOEXEC), "open");
	if (!is_device(null_device, S_IFCHR, make_device(1, 3)))
		fail("it is not the null device", ENODEV);
	/* As a mount of its own it can be copied, whatever becomes of the host's. */
	null_device = must(sys(open_tree, null_device, "",
			       OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH),
			   "open_tree");
	keep_inode(null_device);
}

/* mask PATH: a file is covered by the null device, a folder by an empty one. */
static void step_mask(void)
{
	static int first_file = -1, first_folder = -1;
	long target = lookup_protected(what);
	int is_folder, *first, cover;

	if (target == -ENOENT || target == -ENOTDIR)
		return;
	must(target, "open");
	refuse_root(target);
	is_folder = is_type(target, S_IFDIR);
	first = is_folder ? &first_folder : &first_file;
	if (*first >= 0) {
		/* What is attached can be copied; before Linux 6.15, what isn't can't. */
		cover = must(sys(open_tree, *first, "",
				 OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH),
			     "open_tree");
	} else if (is_folder) {
		int fs = must(sys(fsopen, "tmpfs", FSOPEN_CLOEXEC), "fsopen");

		must(sys(fsconfig, fs, FSCONFIG_SET_STRING, "nr_inodes", "1", 0), "fsconfig");
		must(sys(fsconfig, fs, FSCONFIG_SET_STRING, "mode", "755", 0), "fsconfig");
		must(sys(fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0), "fsconfig");
		cover = must(sys(fsmount, fs, FSMOUNT_CLOEXEC,
				 MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
					 MOUNT_ATTR_NOEXEC),
			     "fsmount");
		close_fd(&fs);
	} else {
		if (null_device < 0)
			fail("the plan has no step `null`", EINVAL);
		cover = null_device;
	}
	must(sys(move_mount, cover, "", target, "",
		 MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH),
	     "move_mount");
	if (*first < 0)
		*first = cover;
	else
		close_fd(&cover);
	sys(close, target);
}

/* freeze_root: only the root itself; what is mounted in it has its own attributes. */
static void step_freeze_root(void)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };

	must(sys(mount_setattr, root, "", AT_EMPTY_PATH, &attr, sizeof(attr)), "mount_setattr");
}

/* ---- Nothing of the host is left ---- */

static int groups_stay; /* the user namespace allows no change of groups */

/*
 * Who had no rights when a user namespace was made can't drop a group that denies something. The
 * groups of its maker stay, then.
 */
static int keeps_groups(void)
{
	char path[PATH_SIZE], word[8] = "";
	int fd;

	own_path(path, "setgroups");
	fd = open_proc(path, O_RDONLY);
	must(sys(read, fd, word, sizeof(word) - 1), "read setgroups");
	close_fd(&fd);
	return !__builtin_memcmp(word, "deny", 4);
}

/* What the steps till here have left in memory: paths of the host, and what its hooks are told. */
static void __attribute__((noinline)) forget(void)
{
	char stack[1 << 16];

	memset(stack, 0, sizeof(stack));
	memset(plan_text, 0, step - plan_text);
	if (*mount_table)
		memset(mount_table, 0, sizeof(mount_table));
	__asm__ volatile("" : : "r"(stack) : "memory");
}

/*
 * close WHAT SOCKET...: all descriptors but the command's, the control connection and these sockets;
 * and what was said of the host till here is forgotten.
 * By a descriptor that is open, a path of the image leads out of it: /proc/self/fd/N/.. as a command,
 * an interpreter, a working directory (CVE-2024-21626). exec closes too late, after it has looked
 * the path up; so from here on there is no such descriptor. No socket is a folder.
 */
static void step_close(void)
{
	unsigned long kept[4] = { control };
	size_t count = 1;
	unsigned from = first_own;

	groups_stay = keeps_groups();
	while (line && count < sizeof(kept) / sizeof(kept[0]))
		kept[count++] = number();
	while (from != ~0U) { /* the next that is kept, and what is before it */
		unsigned next = ~0U;

		for (size_t i = 0; i < count; i++)
			if (kept[i] >= from && kept[i] < next)
				next = kept[i];
		if (next > from)
			must(sys(close_range, from, next == ~0U ? next : next - 1, 0), "close_range");
		from = next == ~0U ? next : next + 1;
	}
	host_proc = null_device = unified = pid_namespace = -1;
	root = AT_FDCWD;
	for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++)
		kernels[i].fd = -1;
	forget();
}

/* ---- Terminal and streams ---- */

static void send_fd(int socket, int fd, const char *name)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} message = { 0 };
	struct iovec data = { (void *)name, length(name) };
	struct msghdr packet = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = &message,
		.msg_controllen = sizeof(message),
	};

	message.header.cmsg_level = SOL_SOCKET;
	message.header.cmsg_type = SCM_RIGHTS;
	message.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&message.header), &fd, sizeof(fd));
	must(sys(sendmsg, socket, &packet, MSG_NOSIGNAL), "sendmsg");
}

static int has_own_terminal; /* its three streams are a terminal that `console` has made */

/*
 * console WHAT SOCKET ROWS COLUMNS MOUNT: a pseudo-terminal of the container's own devpts. The
 * master goes to whoever listens at the console socket, the other end becomes the streams and, with
 * MOUNT 1, /dev/console.
 */
static void step_console(void)
{
	int socket = number(), unlock = 0, pty, peer;
	struct winsize window = { .ws_row = number() };

	window.ws_col = number();
	pty = must(lookup("/dev/pts/ptmx", O_RDWR | O_NOCTTY, RESOLVE_NO_SYMLINKS),
		   "open /dev/pts/ptmx");
	/* The file could be one that the image brought along. */
	if (!is_on(pty, DEVPTS_MAGIC) || !is_device(pty, S_IFCHR, make_device(5, 2)))
		fail("/dev/pts/ptmx is not of a devpts", ENODEV);
	must(sys(ioctl, pty, TIOCSPTLCK, &unlock), "TIOCSPTLCK");
	/* By its master, not by a path. */
	peer = must(sys(ioctl, pty, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC), "TIOCGPTPEER");
	if (window.ws_row || window.ws_col)
		must(sys(ioctl, pty, TIOCSWINSZ, &window), "TIOCSWINSZ");
	if (number()) {
		int tree = must(sys(open_tree, peer, "",
				    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH),
				"open_tree");
		long target = lookup("/dev/console", O_PATH, RESOLVE_NO_SYMLINKS);
		const char *name;
		int parent;

		if (target == -ENOENT && (parent = own_parent("/dev/console", &name)) >= 0) {
			close_fd(&parent);
			target = make("/dev/console", S_IFREG);
		}
		if (target != -ENOENT) { /* else it would be made in a folder of the host's */
			must(target, "open /dev/console");
			must(sys(move_mount, tree, "", target, "",
				 MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH),
			     "mounting /dev/console");
			sys(close, target);
		}
		close_fd(&tree);
	}
	send_fd(socket, pty, "/dev/ptmx");
	close_fd(&pty);
	close_fd(&socket);
	for (int fd = 0; fd <= 2; fd++)
		must(sys(dup2, peer, fd), "dup2");
	close_fd(&peer);
	has_own_terminal = 1;
}

/*
 * streams WHAT UID: they belong to the user, who can so open /dev/stdin, /dev/stdout and
 * /dev/stderr. What has a name on the host stays its owner's, the caller's terminal, too: a user of the
 * host who has the same number could read along there. Some can't be given away, which is no harm.
 */
static void step_streams(void)
{
	unsigned uid = number();

	for (int fd = 0; fd <= 2; fd++) {
		struct stat status;

		if (sys(fstat, fd, &status) < 0 || status.st_uid == uid)
			continue;
		if (has_own_terminal || is_on(fd, PIPEFS_MAGIC) || is_on(fd, SOCKFS_MAGIC))
			sys(fchown, fd, uid, -1);
	}
}

/* ---- Hooks of the container's namespaces ---- */

static char *pool[WORDS_MAX];
static unsigned long used;

static char **words_until_end(unsigned long most)
{
	char **first = pool + used;

	while (line && most--) {
		if (used + 1 >= WORDS_MAX)
			fail("too many words", E2BIG);
		pool[used++] = text();
	}
	if (used + 1 >= WORDS_MAX)
		fail("too many words", E2BIG);
	pool[used++] = NULL;
	return first;
}

/* What it printed last, until it has ended or its time is over. */
static int wait_for_hook(int pid, int output, long milliseconds, char says[HOOK_SAYS])
{
	int status = 0, pidfd = must(sys(pidfd_open, pid, 0), "pidfd_open"), late = 0;
	struct pollfd ready[2] = { { .fd = pidfd, .events = POLLIN }, { .fd = output, .events = POLLIN } };
	struct timespec now, until;

	sys(clock_gettime, CLOCK_MONOTONIC, &now);
	until = now;
	until.tv_sec += milliseconds / 1000;
	while (!ready[0].revents) {
		long left = (until.tv_sec - now.tv_sec) * 1000 + (until.tv_nsec - now.tv_nsec) / 1000000;
		long size;

		if (milliseconds >= 0 && left <= 0) {
			sys(kill, pid, SIGKILL);
			late = 1;
			break;
		}
		sys(poll, ready, 2, milliseconds < 0 ? -1 : left);
		if (ready[1].revents) {
			char printed[HOOK_SAYS];

			size = sys(read, output, printed, sizeof(printed) - 1);
			if (size <= 0) {
				ready[1].fd = -1;
			} else {
				size_t end = length(says);

				if (end + size >= HOOK_SAYS)
					end = 0; /* what it printed before makes room */
				memcpy(says + end, printed, size);
				says[end + size] = '\0';
			}
		}
		sys(clock_gettime, CLOCK_MONOTONIC, &now);
	}
	sys(wait4, pid, &status, 0, NULL);
	close_fd(&pidfd);
	return late ? -1 : status;
}

/*
 * hook POINT PATH MILLISECONDS STATE COUNT ARGUMENT... VARIABLE...: STATE is the state's JSON up to the
 * process id, which is the one that the container sees. Of the streams it gets none. A program of
 * the image's (startContainer) comes when all rights but the command's are gone.
 */
static void step_hook(void)
{
	const char *path = text();
	long milliseconds = signed_number();
	const char *state = text();
	unsigned long count = number();
	char **arguments = words_until_end(count), **environment = words_until_end(WORDS_MAX);
	char json[24] = "", says[HOOK_SAYS + 64] = "";
	int input = must(sys(memfd_create, "state", 1 /* MFD_CLOEXEC */), "memfd_create");
	int output[2], failed[2], pid, status, error = 0;

	append_number(json, sizeof(json), sys(getpid));
	append(json, sizeof(json), "}");
	must(sys(write, input, state, length(state)), "write");
	must(sys(write, input, json, length(json)), "write");
	must(sys(lseek, input, 0, SEEK_SET), "lseek");
	must(sys(pipe2, output, O_CLOEXEC), "pipe");
	must(sys(pipe2, failed, O_CLOEXEC), "pipe");
	pid = must(sys(clone, SIGCHLD, 0, 0, 0, 0), "clone"); /* which a filter may know: clone3 it can't */
	if (!pid) {
		sys(prctl, PR_SET_PDEATHSIG, SIGKILL);
		if (!same(what, "startContainer"))
			sys(umask, starters_umask);
		sys(dup2, input, 0);
		sys(dup2, output[1], 1);
		sys(dup2, output[1], 2);
		sys(dup2, failed[1], 3);
		sys(fcntl, 3, F_SETFD, FD_CLOEXEC);
		error = -(int)sys(close_range, 4, ~0U, 0);
		if (!error)
			error = -(int)sys(execve, path, arguments, environment);
		sys(write, 3, &error, sizeof(error));
		sys(exit_group, 127);
	}
	close_fd(&input);
	close_fd(&output[1]);
	close_fd(&failed[1]);
	status = wait_for_hook(pid, output[0], milliseconds, says);
	if (sys(read, failed[0], &error, sizeof(error)) == sizeof(error))
		must_on(-error, "execve", path);
	close_fd(&failed[0]);
	close_fd(&output[0]);
	if (status == -1)
		fail("it took too long", ETIMEDOUT);
	if (status) {
		char reason[HOOK_SAYS + 64] = "it failed";

		if (*says) {
			append(reason, sizeof(reason), ": ");
			append(reason, sizeof(reason), says);
		}
		fail(reason, ECANCELED);
	}
}

/* ---- What the process may do ---- */

static void step_apparmor(void)
{
	char command[1024] = "exec ";

	append(command, sizeof(command), what);
	write_own("attr/apparmor/exec", command);
}

static void step_selinux(void)
{
	write_own("attr/exec", what);
}

static void step_personality(void)
{
	must(sys(personality, number()), "personality");
}

/* scheduler POLICY N FLAGS NICE PRIORITY RUNTIME DEADLINE PERIOD */
static void step_scheduler(void)
{
	struct sched_attr attr = { .size = sizeof(attr), .sched_policy = number() };

	attr.sched_flags = number();
	attr.sched_nice = signed_number();
	attr.sched_priority = number();
	attr.sched_runtime = number();
	attr.sched_deadline = number();
	attr.sched_period = number();
	must(sys(sched_setattr, 0, &attr, 0), "sched_setattr");
}

/* affinity CPUS WORD...: a mask of 64 CPUs in each word. */
static void step_affinity(void)
{
	uint64_t mask[64] = { 0 };
	size_t count = 0;

	while (line && count < sizeof(mask) / sizeof(mask[0]))
		mask[count++] = number();
	must(sys(sched_setaffinity, 0, count * sizeof(mask[0]), mask), "sched_setaffinity");
}

/* memory_policy NAME MODE WORD...: of which nodes memory is; 64 of them in each word. */
static void step_memory_policy(void)
{
	unsigned long mode = number(), nodes[16];
	size_t count = 0;

	while (line) {
		if (count == sizeof(nodes) / sizeof(nodes[0]))
			fail("more nodes than the kernel knows", EINVAL);
		nodes[count++] = number();
	}
	/* The kernel takes a count of bits that is one too high. */
	must(sys(set_mempolicy, mode, count ? nodes : NULL, count * 64 + 1), "set_mempolicy");
}

static void step_io_priority(void)
{
	must(sys(ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, 0, number()), "ioprio_set");
}

/* umask MASK|-: the starter's, if the configuration has none. */
static void step_umask(void)
{
	sys(umask, same(what, "-") ? starters_umask : parse(what));
}

/* bounding WHAT MASK: what no program can get, whatever its file says; first, while it's allowed. */
static void step_bounding(void)
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

/* user UID GID [GROUP...]: capabilities stay, for `capabilities` to choose from. */
static void step_user(void)
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
	/* A change of ids has taken it back. */
	must(sys(prctl, PR_SET_PDEATHSIG, SIGKILL), "prctl");
}

/*
 * cwd PATH LAST: as root, who gets into folders that the user doesn't; where root can't (a file
 * system of others, who are strict with it), again as the user, which is the LAST time.
 * CVE-2024-21626 was a working directory outside of the root, by a descriptor that was left open.
 * The kernel then has no path for it that begins with `/`.
 */
static void step_cwd(void)
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

/* all_capabilities: to be effective again, after a change of user, for a filter to be loaded. */
static void step_all_capabilities(void)
{
	struct __user_cap_data_struct data[2];

	load_capabilities(data);
	for (int i = 0; i < 2; i++)
		data[i].effective = data[i].permitted;
	store_capabilities(data);
}

/*
 * capabilities WHAT EFFECTIVE PERMITTED INHERITABLE AMBIENT: what ringlet doesn't have itself can't
 * be granted, and isn't, as the specification wants it.
 */
static void step_capabilities(void)
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
static void step_no_new_privs(void)
{
	must(sys(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
}

/*
 * seccomp WHAT FLAGS COUNT OFFSET [SOCKET PART...]: as late as it can be, since it holds for the rest
 * of the plan, too. Where it has a listener, that is sent by a second process, which shares the
 * descriptors but not the filter: what the filter allows this one is the configuration's business.
 * With it goes a text: the parts, and between them this process's id, as ringlet sees it.
 */
static void step_seccomp(void)
{
	unsigned long flags = number();
	struct sock_fprog filter = { .len = number() };
	char *word;
	long listener;
	int pid = 0, line_to[2], sends, socket = -1;
	long parent = sys(getpid);

	filter.filter = (void *)(blob + number());
	word = optional();
	sends = word != NULL;
	if (sends) {
		static char data[1 << 16];
		int fd;
		char own[24] = "";

		socket = parse(word);
		append_number(own, sizeof(own), outer_pid);
		append(data, sizeof(data), text());
		while ((word = optional())) {
			append(data, sizeof(data), own);
			append(data, sizeof(data), word);
		}
		if (length(data) + 1 == sizeof(data))
			fail("the state is too long", E2BIG);

		must(sys(pipe2, line_to, O_CLOEXEC), "pipe");
		pid = must(sys(clone, CLONE_FILES, 0, 0, 0, 0), "clone");
		if (!pid) { /* it ends with the one that has the filter */
			must(sys(prctl, PR_SET_PDEATHSIG, SIGKILL), "prctl");
			if (sys(getppid) != parent)
				sys(exit_group, 1);
			if (sys(read, line_to[0], &fd, sizeof(fd)) == sizeof(fd))
				send_fd(socket, fd, data);
			sys(exit_group, 0);
		}
	}
	listener = must(sys(seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter), "seccomp");
	if (sends) {
		int fd = listener, status;

		must(sys(write, line_to[1], &fd, sizeof(fd)), "write");
		sys(wait4, pid, &status, __WALL, NULL);
		/* As in `close`: the socket, the listener, the pipe. */
		sys(close, socket);
		sys(close, listener);
		sys(close, line_to[0]);
		sys(close, line_to[1]);
	}
}

/* rlimit NAME RESOURCE SOFT HARD */
static void step_rlimit(void)
{
	int resource = number();
	struct rlimit limit = { .rlim_cur = number() };

	limit.rlim_max = number();
	must(sys(prlimit64, 0, resource, &limit, NULL), "prlimit");
}

/* ---- The command ---- */

static char **arguments, **environment;
static const char *command; /* where arguments[0] is found */

/* Whether it is a program that can be run; if not, a negative error. */
static long is_program(const char *path)
{
	struct stat status;
	long result = sys(newfstatat, AT_FDCWD, path, &status, 0);

	if (result < 0)
		return result;
	if (S_ISDIR(status.st_mode))
		return -EACCES;
	return sys(faccessat, AT_FDCWD, path, X_OK);
}

/*
 * The home folder of a user in the container's /etc/passwd; `/` of one who isn't there. The file is the
 * image's, and is read as the user who will be its command.
 */
static const char *home_of(uid_t user)
{
	static char entry[PATH_SIZE];
	size_t size = 0;
	char bytes[1024];
	long count, fd = sys(openat, AT_FDCWD, "/etc/passwd",
			     O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	long left = PASSWD_MAX;

	if (fd < 0 || !is_type(fd, S_IFREG))
		left = 0;
	while (left > 0 && (count = sys(read, fd, bytes, sizeof(bytes))) >= 0) {
		left -= count;
		if (!count) { /* the last line may have no end */
			bytes[count++] = '\n';
			left = 0;
		}
		for (long i = 0; i < count; i++) {
			char *field = entry, *end;

			if (bytes[i] != '\n') {
				if (size < sizeof(entry) - 1)
					entry[size] = bytes[i];
				size++;
				continue;
			}
			entry[size < sizeof(entry) ? size : 0] = '\0'; /* one that is too long is none */
			size = 0;
			for (int fields = 0; field && fields < 2; fields++) /* name:password:UID */
				field = (field = find(field, ':')) ? field + 1 : NULL;
			if (!field || !is_number(field, user))
				continue;
			for (int fields = 2; field && fields < 5; fields++) /* ...:GID:about:HOME */
				field = (field = find(field, ':')) ? field + 1 : NULL;
			if (!field || *field != '/')
				continue;
			if ((end = find(field, ':')))
				*end = '\0';
			sys(close, fd);
			return field;
		}
	}
	if (fd >= 0)
		sys(close, fd);
	return "/";
}

/* HOME, where the environment has none: what users of engines expect, since runc does it. */
static void set_home(void)
{
	static char home[PATH_SIZE + 8] = "HOME=";
	char **variable = environment;

	while (*variable && __builtin_memcmp(*variable, "HOME=", 5))
		variable++;
	if (*variable && (*variable)[5])
		return;
	append(home, sizeof(home), home_of(sys(getuid)));
	if (!*variable) { /* the environment's end is the pool's */
		if (used + 1 >= WORDS_MAX)
			fail("too many words", E2BIG);
		pool[used++] = NULL;
	}
	*variable = home;
}

/* command NAME COUNT ARGUMENT... VARIABLE...: found now, so that `create` can say that it isn't. */
static void step_command(void)
{
	static char found[PATH_SIZE];
	const char *path = "/bin:/usr/bin";
	long result, worst = -ENOENT;

	arguments = words_until_end(number());
	environment = words_until_end(WORDS_MAX);
	set_home();
	for (char **variable = environment; *variable; variable++)
		if (!__builtin_memcmp(*variable, "PATH=", 5))
			path = *variable + 5;
	if (find(what, '/')) {
		must(is_program(what), "it can't be run");
		command = what;
		return;
	}
	while (*path) {
		size_t size = 0;

		while (*path && *path != ':' && size < sizeof(found) - 1)
			found[size++] = *path++;
		if (!size)
			found[size++] = '.'; /* an empty one is the working directory */
		found[size] = '\0';
		while (*path && *path != ':')
			path++;
		if (*path == ':')
			path++;
		append(found, sizeof(found), "/");
		append(found, sizeof(found), what);
		result = is_program(found);
		if (!result) {
			command = found;
			return;
		}
		if (result == -EACCES)
			worst = result;
	}
	fail(worst == -ENOENT ? "executable file not found in $PATH" : "it can't be run", -worst);
}

static struct {
	char kind;
	uint64_t times[STAGES_MAX]; /* CLOCK_MONOTONIC, nanoseconds */
} __attribute__((packed)) stages = { .kind = 'R' };
static int stages_count;

/* stage: a part of the making is over, and ringlet hears later when: not by a message of its own. */
static void step_stage(void)
{
	struct timespec now;

	if (stages_count == STAGES_MAX)
		fail("more stages than there is room for", E2BIG);
	must(sys(clock_gettime, CLOCK_MONOTONIC, &now), "clock_gettime");
	stages.times[stages_count++] = (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ready: the container is made; it lives on its own from here on. */
static void step_ready(void)
{
	must(sys(prctl, PR_SET_PDEATHSIG, 0), "prctl");
	must(sys(write, control, &stages, 1 + stages_count * sizeof(stages.times[0])), "telling ringlet");
	close_fd(&control);
}

/*
 * wait PATH SOCKET: until `start` says so, over a connection that then hears how it goes. The socket
 * may be one already: it is for the process that made this one, and with that both end.
 */
static void step_wait(void)
{
	int socket = number();
	char go;

	for (;;) {
		int connection = sys(accept4, socket, NULL, NULL, SOCK_CLOEXEC);

		if (connection == -EINTR || connection == -ECONNABORTED)
			continue;
		if (connection == -EINVAL) {
			control = socket;
			if (sys(read, control, &go, 1) != 1)
				fail("ringlet has ended", ECANCELED);
			return;
		}
		control = must(connection, "accept");
		if (sys(read, control, &go, 1) == 1)
			break;
		close_fd(&control); /* it was no `start` */
	}
	close_fd(&socket);
}

/* exec: the control connection closes by it, which says that it went well. */
static void step_exec(void)
{
	tell('X', 0);
	must(sys(prctl, PR_SET_PDEATHSIG, 0), "prctl");
	what = (char *)command;
	must(sys(execve, command, arguments, environment), "execve");
}

/* The descriptor that the next message has with it; negative if there is none. */
static int receive_fd(int socket, char *text, size_t size)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} message = { 0 };
	struct iovec data = { text, size };
	struct msghdr packet = {
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = &message,
		.msg_controllen = sizeof(message),
	};
	int fd = -1;

	if (sys(recvmsg, socket, &packet, MSG_CMSG_CLOEXEC) > 0 &&
	    packet.msg_controllen >= sizeof(message.header))
		memcpy(&fd, CMSG_DATA(&message.header), sizeof(fd));
	if (packet.msg_flags & MSG_TRUNC)
		*text = 0; /* half a path is another's */
	return fd;
}

/*
 * Removes each of the folders, paths that end with a zero byte, and after the last an empty one;
 * whether one is in use. No other's is removed: the name of a cgroup is a random number.
 */
static int remove_folders(const char *path)
{
	int in_use = 0;

	while (*path) {
		in_use |= sys(unlinkat, AT_FDCWD, path, AT_REMOVEDIR) == -EBUSY;
		while (*path++)
			;
	}
	return in_use;
}

/*
 * guard WHAT SOCKET OWNER: a process of its own, until the process of the descriptor OWNER has
 * ended; then it kills those whose descriptors have come through the socket, and removes their
 * cgroups, whose paths came before they were made (`F`; of the last so many containers). It holds
 * nothing else that anyone could wait for, and no signal but SIGKILL ends it before.
 */
static void step_guard(void)
{
	enum { OWNER, SOCKET, FIRST };
	enum { CONTAINERS = 1 << 10, ROOM = 2048, PAUSE = 5, PAUSES = 1000 };
	static struct pollfd held[1 << 16];
	static char folders[CONTAINERS][ROOM + 2];
	char order[ROOM];
	unsigned told = 0;
	int in_use = 1;
	int socket = number(), owner = number();
	struct clone_args args = { 0 };
	uint64_t all = ~0UL;
	struct rlimit limit;
	unsigned count = FIRST;

	must(sys(rt_sigprocmask, SIG_BLOCK, &all, NULL, sizeof(all)), "sigprocmask");
	must(sys(chdir, "/"), "chdir");
	must(sys(prlimit64, 0, RLIMIT_NOFILE, NULL, &limit), "prlimit");
	limit.rlim_cur = limit.rlim_max;
	must(sys(prlimit64, 0, RLIMIT_NOFILE, &limit, NULL), "prlimit");
	if (must(sys(clone3, &args, sizeof(args)), "clone3"))
		sys(exit_group, 0); /* who started this has no child to wait for */
	sys(setsid);
	sys(dup2, socket, 0);
	sys(dup2, owner, 1);
	sys(close_range, 2, ~0U, 0);
	/* In this order: of who has ended when it's looked at, all that was sent is seen after. */
	held[OWNER] = (struct pollfd){ .fd = 1, .events = POLLIN };
	held[SOCKET] = (struct pollfd){ .fd = 0, .events = POLLIN };
	while (!held[OWNER].revents) {
		sys(poll, held, count, -1);
		for (unsigned i = count; --i >= FIRST;)
			if (held[i].revents) { /* this container has ended */
				sys(close, held[i].fd);
				held[i] = held[--count];
			}
		/* Also when the owner is gone: one may be on its way. */
		while (held[SOCKET].revents && count < sizeof(held) / sizeof(held[0])) {
			int fd;

			memset(order, 0, sizeof(order));
			fd = receive_fd(0, order, sizeof(order));
			if (fd >= 0)
				held[count++] = (struct pollfd){ .fd = fd, .events = POLLIN };
			else if (*order == 'F')
				memcpy(folders[told++ % CONTAINERS], order + 1, sizeof(order) - 1);
			else
				break;
			sys(poll, &held[SOCKET], 1, 0);
		}
		if (held[SOCKET].revents & POLLHUP)
			held[SOCKET].fd = -1; /* nobody has the other end; the owner's end is what counts */
	}
	while (count-- > FIRST)
		sys(pidfd_send_signal, held[count].fd, SIGKILL, NULL, 0);
	for (int pauses = 0; in_use && pauses < PAUSES; pauses++) {
		if (pauses)
			sys(poll, NULL, 0, PAUSE); /* until its last process is gone */
		in_use = 0;
		for (unsigned i = 0; i < CONTAINERS; i++)
			in_use |= remove_folders(folders[i]);
	}
	sys(exit_group, 0);
}

/* die WHAT: for tests of what is left when this happens here. */
static void step_die(void)
{
	sys(kill, sys(getpid), SIGKILL);
	sys(exit_group, 137); /* process 1 of a namespace doesn't take it from itself */
}

static const struct {
	const char *name;
	void (*run)(void);
} steps[] = {
#define STEP(name) { #name, step_##name }
	STEP(fds), STEP(close), STEP(hidden), STEP(cgroup), STEP(oom_score_adj), STEP(hard), STEP(namespace), STEP(try), STEP(join),
	STEP(pids), STEP(join_pids), STEP(enter), STEP(unified), STEP(clone), STEP(await), STEP(mounted), STEP(become), STEP(session), STEP(terminal), STEP(keyring),
	STEP(loopback), STEP(unshare), STEP(timens), STEP(hostname), STEP(domainname), STEP(sysctl),
	STEP(propagation), STEP(bind), STEP(same), STEP(park), STEP(take), STEP(instead), STEP(filesystem), STEP(attributes), STEP(idmap),
	STEP(layer), STEP(root), STEP(attach), STEP(at), STEP(copyup), STEP(folder), STEP(device), STEP(symlink),
	STEP(pivot), STEP(move_root), STEP(chroot), STEP(readonly), STEP(null), STEP(mask), STEP(freeze_root),
	STEP(console), STEP(streams), STEP(hook), STEP(apparmor), STEP(selinux), STEP(personality),
	STEP(scheduler), STEP(affinity), STEP(memory_policy), STEP(io_priority), STEP(umask), STEP(bounding), STEP(user),
	STEP(cwd), STEP(all_capabilities), STEP(capabilities), STEP(no_new_privs), STEP(seccomp),
	STEP(rlimit), STEP(command), STEP(stage), STEP(ready), STEP(wait), STEP(exec), STEP(guard), STEP(die),
};

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

/* The words: a name, the descriptors of the plan and of the control socket, the text's size. */
void program(int count, char **words)
{
	struct stat status;
	char *next, *end;
	int plan;

	if (count != 4)
		sys(exit_group, 125);
	plan = (int)parse(words[1]);
	control = (int)parse(words[2]);
	starters_umask = sys(umask, 0);
	must(sys(fstat, plan, &status), "fstat");
	/* A copy, of which what is done can be forgotten; not the file, which others could open again. */
	next = (char *)must(sys(mmap, NULL, status.st_size, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
			    "mmap");
	if (must(sys(pread64, plan, next, status.st_size, 0), "read") != status.st_size)
		fail("a wrong size", EINVAL);
	plan_text = next;
	end = next + parse(words[3]);
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
