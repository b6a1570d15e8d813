/*
 * modules.c: loads kernel modules, in the plan's order.
 *
 * Source: init_module(2).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init.h"

static bool load(const struct module *module)
{
	int fd = open(module->path, O_RDONLY | O_CLOEXEC);
	bool loaded;

	if (fd < 0)
		return false;
	loaded = syscall(SYS_finit_module, fd, module->parameters, 0) == 0 || errno == EEXIST;
	close(fd);
	return loaded;
}

void modules_load(const struct plan *plan)
{
	for (size_t i = 0; i < plan->module_count; i++) {
		const struct module *module = &plan->modules[i];

		if (load(module))
			continue;
		if (module->required)
			die("module %s: %s", module->path, strerror(errno));
		say("module %s: %s", module->path, strerror(errno));
	}
}
