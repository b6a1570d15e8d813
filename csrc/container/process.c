/*
 * process.c: the new process waits for ringlet, becomes root, and leaves its maker's session and keys.
 *
 * Source: user_namespaces(7), credentials(7), keyrings(7).
 */
#include "container.h"

#include <linux/keyctl.h>
#include <linux/prctl.h>
#include <signal.h>

/*
 * await: waits until ringlet has done its part for this process: has mapped ids, or has run hooks of
 * the host.
 */
void step_await(void)
{
	long size;
	char go;

	do
		size = sys(read, orders, &go, sizeof(go));
	while (size == -EINTR);
	if (size != sizeof(go))
		fail("ringlet has ended", size < 0 ? -size : ECANCELED);
}

/* mounted: now ringlet may run the host's hooks that come before pivot_root; `await` waits for them. */
void step_mounted(void)
{
	tell('M', 0);
}

/* become: this process becomes root of the new user namespace, which owns what is made from here on. */
void step_become(void)
{
	must(sys(setresgid, 0, 0, 0), "setresgid");
	must(sys(setresuid, 0, 0, 0), "setresuid");
	/* The change of ids has taken it back. */
	must(sys(prctl, PR_SET_PDEATHSIG, SIGKILL), "prctl");
}

/*
 * outlive: from here on, the process doesn't end with ringlet. If ringlet ends before it hears that the
 * process is made, the process ends as it reports this: nobody reads the pipe.
 */
void step_outlive(void)
{
	must(sys(prctl, PR_SET_PDEATHSIG, 0), "prctl");
}

/* session: a new session, so that a signal of the terminal of ringlet's user doesn't reach the container. */
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
