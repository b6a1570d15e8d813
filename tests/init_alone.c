/*
 * init_alone: what init does with a plan, but in a process of its own, without a machine.
 *
 *   init_alone PLAN show           what was understood, with a zero byte behind each value
 *   init_alone PLAN run [CONTROL]  runs the command; the host's streams are descriptors 0 to 2, and
 *                                  CONTROL, if given, that of the control lines
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "init.h"

static void put(const char *key, const char *value)
{
	printf("%s=%s%c", key, value ? value : "", 0);
}

static void show(const struct plan *plan)
{
	for (size_t i = 0; i < plan->module_count; i++) {
		put(plan->modules[i].required ? "module!" : "module", plan->modules[i].path);
		put("parameters", plan->modules[i].parameters);
	}
	put("root tag", plan->root_tag);
	put("root disk", plan->root_disk);
	for (size_t i = 0; i < plan->share_count; i++) {
		put(plan->shares[i].writable ? "share rw" : "share", plan->shares[i].tag);
		put("path", plan->shares[i].path);
	}
	put("hostname", plan->hostname);
	put("network", plan->network.interface);
	printf("address=%08x/%u %08x%c", plan->network.address, plan->network.prefix,
	       plan->network.gateway, 0);
	put("resolver", plan->network.resolver);
	put("cwd", plan->folder);
	for (char **variable = plan->environment; *variable; variable++)
		put("env", *variable);
	for (char **argument = plan->arguments; *argument; argument++)
		put("arg", *argument);
	printf("user=%d %u %u%c", plan->has_user, plan->user, plan->group, 0);
	for (size_t i = 0; i < plan->group_count; i++)
		printf("group=%u%c", plan->groups[i], 0);
	printf("stdio=%d%cstatus=%d%c", plan->stdio, 0, plan->status, 0);
	printf("tty=%d %u %u%c", plan->has_terminal, plan->window.ws_row, plan->window.ws_col, 0);
}

int main(int argc, char **argv)
{
	struct host host = { 0, 1, 2, -1, false };
	struct plan plan;

	plan_read(&plan, argv[1]);
	if (!strcmp(argv[2], "show")) {
		show(&plan);
		return 0;
	}
	host.is_stuffed = plan.stdio == STDIO_UART;
	if (argc > 3)
		host.control = atoi(argv[3]);
	for (int fd = 0; fd <= 2; fd++)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (host.control >= 0)
		fcntl(host.control, F_SETFL, O_NONBLOCK);
	return run(&plan, &host);
}
