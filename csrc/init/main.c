/*
 * init: process 1 of a Linux guest that ringlet makes.
 *
 * Reads /plan, loads modules, mounts file systems, runs one command with its streams relayed to
 * the host, reports its status, and powers off; or leaves all further to the init of a disk.
 * plan.c says what a plan can hold.
 *
 * Source: Linux, Documentation/filesystems/ramfs-rootfs-initramfs.rst; init/main.c (what process
 * 1 starts with).
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "init.h"

int main(void)
{
	struct plan plan;
	struct host host;

	if (getpid() != 1)
		die("this is the init of a guest: it has to be process 1");
	plan_read(&plan, "/plan");
	modules_load(&plan);
	root_switch(&plan);
	mount_all(&plan);
	if (!plan.arguments[0]) {
		execl("/sbin/init", "/sbin/init", NULL);
		die("/sbin/init of %s: %s", plan.root_disk ? plan.root_disk : plan.root_tag,
		    strerror(errno));
	}
	if (plan.hostname)
		system_name(plan.hostname);
	system_loopback();
	network_set_up(&plan);
	host_open(&host, &plan);
	run(&plan, &host);
	power_off();
}
