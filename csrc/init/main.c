/*
 * init: process 1 of a Linux guest that ringlet makes.
 *
 * Reads /plan, loads modules, mounts file systems, runs one command with its streams relayed to
 * the host, reports its status, and powers off. plan.c says what a plan can hold.
 *
 * Source: Linux, Documentation/filesystems/ramfs-rootfs-initramfs.rst; init/main.c (what process
 * 1 starts with).
 */
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
	mount_all(&plan);
	if (plan.hostname)
		system_name(plan.hostname);
	system_loopback();
	host_open(&host, &plan);
	run(&plan, &host);
	power_off();
}
