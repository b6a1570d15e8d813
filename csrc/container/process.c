/*
 * process.c: the new process: it waits for ringlet, becomes root, and leaves its maker's session and keys.
 *
 * Source: user_namespaces(7), credentials(7), keyrings(7).
 */
#include "container.h"

#include <linux/keyctl.h>
#include <linux/prctl.h>
#include <signal.h>

long outer_pid;

/*
 * await: what ringlet has to do for this process is done when ringlet says so: its ids are mapped, or
 * hooks of the host have run. With it comes this process's id as ringlet sees it.
 */
void step_await(void)
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
void step_mounted(void)
{
	tell('M', 0);
}

/* become: root of the new user namespace. What is made from here on belongs to it. */
void step_become(void)
{
	must(sys(setresgid, 0, 0, 0), "setresgid");
	must(sys(setresuid, 0, 0, 0), "setresuid");
	/* A change of ids has taken it back. */
	must(sys(prctl, PR_SET_PDEATHSIG, SIGKILL), "prctl");
}

/* session: a signal for the terminal of ringlet's user isn't for the container. */
void step_session(void)
{
	must(sys(setsid), "setsid");
}

/* keyring: a session keyring of its own, with none of the keys of ringlet's user. */
void step_keyring(void)
{
	long result = sys(keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);

	if (result != -ENOSYS)
		must(result, "keyctl");
}
