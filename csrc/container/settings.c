/*
 * settings.c: sets up new namespaces: the loopback interface, names, settings of the kernel.
 *
 * Source: netdevice(7), sethostname(2); Linux, Documentation/admin-guide/sysctl.
 */
#include "container.h"

#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* loopback: brings up the loopback interface, which is down in a new network namespace. */
void step_loopback(void)
{
	struct ifreq request = { .ifr_name = "lo" };
	int fd = must(sys(socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");

	must(sys(ioctl, fd, SIOCGIFFLAGS, &request), "SIOCGIFFLAGS");
	request.ifr_flags |= IFF_UP;
	must(sys(ioctl, fd, SIOCSIFFLAGS, &request), "SIOCSIFFLAGS");
	close_fd(&fd);
}

void step_hostname(void)
{
	must(sys(sethostname, what, length(what)), "sethostname");
}

void step_domainname(void)
{
	must(sys(setdomainname, what, length(what)), "setdomainname");
}

/*
 * sysctl NAME PATH VALUE: ringlet has checked that the setting belongs to a namespace of the container's.
 * The value is written through the host's procfs: the container's own could be anything.
 */
void step_sysctl(void)
{
	char path[PATH_SIZE] = "sys/";

	append(path, sizeof(path), text());
	write_proc(path, text());
}
