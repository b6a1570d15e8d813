/*
 * status.c: tells the host how the command has ended.
 *
 *   port      the status is written to the exit port, which ends the machine
 *   control   it goes to ringlet.control; then the host says when, by hanging up
 *
 * Where the command can't be run at all, there is a message and no status: see die.c.
 *
 * Source: ioperm(2); QEMU, docs/specs (isa-debug-exit).
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/io.h>
#include <termios.h>
#include <unistd.h>

#include "init.h"

#define EXIT_PORT 0xf4

static void write_port(int status)
{
	if (ioperm(EXIT_PORT, 1, 1) < 0)
		say("the exit port: %s", strerror(errno));
	else
		outb(status, EXIT_PORT);
}

void status_report(const struct plan *plan, const struct host *host, const struct outcome *outcome)
{
	/* After this, the machine may be gone at any moment. */
	mount_settle();
	sync();
	tcdrain(host->output); /* of what isn't a terminal, an error */
	tcdrain(host->errors);
	switch (plan->status) {
	case STATUS_NONE:
		break;
	case STATUS_PORT:
		write_port(outcome->status);
		break;
	case STATUS_CONTROL:
		control_say(host->control, "status %d %" PRIu64 " %" PRIu64 "\n", outcome->status,
			    outcome->output_size, outcome->errors_size);
		control_wait_for_end(host->control);
		break;
	}
}
