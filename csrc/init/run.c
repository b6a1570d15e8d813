/*
 * run.c: the command from its start to its status, of which the host hears as it goes.
 */
#define _GNU_SOURCE
#include "init.h"

int run(const struct plan *plan, const struct host *host)
{
	struct command command;
	struct outcome outcome;

	relay_go_first();
	relay_block_signals();
	if (host->control >= 0) {
		die_tells(host->control);
		control_say(host->control, "ready\n");
	}
	command_start(&command, plan);
	if (host->control >= 0)
		control_say(host->control, "started\n");
	relay_run(host, &command, &outcome);
	status_report(plan, host, &outcome);
	return outcome.status;
}
