/*
 * streams.c: the terminal and the streams.
 *
 * Source: pty(7), ioctl_tty(2); Linux, Documentation/filesystems/devpts.rst.
 */
#include "container.h"

#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>

#define DEVPTS_MAGIC 0x1cd1

static int has_own_terminal; /* its three streams are a terminal that `console` has made */

/*
 * console WHAT SOCKET ROWS COLUMNS MOUNT: a pseudo-terminal of the container's own devpts. The
 * master goes to whoever listens at the console socket, the other end becomes the streams and, with
 * MOUNT 1, /dev/console.
 */
void step_console(void)
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
			mount_on(target, NULL, tree);
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
 * A stream that is the host's null device becomes the container's null device. Otherwise the command could
 * change the mode of the host's device by the descriptor, and without a user namespace its owner, too. For a
 * container without a null device of its own, `null` has made the host's read-only.
 */
static void take_own_null(int fd)
{
	const dev_t device = make_device(1, 3);
	long null;

	if (!is_device(fd, S_IFCHR, device))
		return;
	/* What the image has there instead must not hold this process up. */
	null = lookup("/dev/null", O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, RESOLVE_NO_SYMLINKS);
	if (null < 0)
		return;
	if (is_device(null, S_IFCHR, device))
		must(sys(dup2, null, fd), "dup2");
	sys(close, null);
}

/*
 * streams WHAT UID: gives the streams to the user, who can then open /dev/stdin, /dev/stdout and
 * /dev/stderr. A stream that has a name on the host stays its owner's, as does the caller's terminal: a
 * user of the host with the same number could read along. Some can't be given away, which is no harm.
 */
void step_streams(void)
{
	unsigned uid = number();

	for (int fd = 0; fd <= 2; fd++) {
		struct stat status;

		take_own_null(fd);
		if (sys(fstat, fd, &status) < 0 || status.st_uid == uid)
			continue;
		if (has_own_terminal || is_on(fd, PIPEFS_MAGIC) || is_on(fd, SOCKFS_MAGIC))
			sys(fchown, fd, uid, -1);
	}
}

/* terminal: the pseudo-terminal of `console` becomes the new session's controlling terminal. */
void step_terminal(void)
{
	must(sys(ioctl, 0, TIOCSCTTY, 0), "TIOCSCTTY");
}
