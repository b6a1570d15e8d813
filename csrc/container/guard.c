/*
 * guard.c: the guard: ends containers whose maker has ended.
 *
 * Source: pidfd_send_signal(2), unix(7).
 */
#include "container.h"

#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>

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
 * Removes folders: paths that end with a zero byte, the last one empty. Returns whether a folder is
 * still in use. Nobody else's is removed: the name of a cgroup is a random number.
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
 * guard WHAT SOCKET OWNER: a process of its own, which waits until the process of the descriptor OWNER
 * has ended. Then it kills the processes whose descriptors have come through the socket, and removes
 * their cgroups. The paths of the cgroups came before the cgroups were made (`F`; the guard knows those
 * of the last CONTAINERS). The guard holds nothing else that anyone could wait for, and no signal but
 * SIGKILL ends it before.
 */
void step_guard(void)
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
	/* The owner first: when it has ended by the time of this look, all that it sent is seen after. */
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

/* die WHAT: this process is killed, so that a test can look at what is left. */
void step_die(void)
{
	sys(kill, sys(getpid), SIGKILL);
	sys(exit_group, 137); /* process 1 of a namespace doesn't take it from itself */
}
