/*
 * network.c: gives the guest's network interface its address, and tells of the way to others.
 *
 * What fails is told, and the command runs all the same.
 *
 * Source: netdevice(7), route(8), resolv.conf(5).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init.h"

#define RESOLVERS "/etc/resolv.conf"

static void fill(struct sockaddr *address, in_addr_t value)
{
	struct sockaddr_in inet = { .sin_family = AF_INET, .sin_addr.s_addr = value };

	memcpy(address, &inet, sizeof(inet));
}

static bool set_up(int fd, const struct network *network)
{
	struct ifreq request = { 0 };
	struct rtentry route = { .rt_flags = RTF_UP | RTF_GATEWAY };

	strncpy(request.ifr_name, network->interface, IFNAMSIZ - 1);
	fill(&request.ifr_addr, network->address);
	if (ioctl(fd, SIOCSIFADDR, &request) < 0)
		return false;
	fill(&request.ifr_netmask, htonl(~0ull << (32 - network->prefix)));
	if (ioctl(fd, SIOCSIFNETMASK, &request) < 0)
		return false;
	request.ifr_flags = IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		return false;
	fill(&route.rt_dst, INADDR_ANY);
	fill(&route.rt_genmask, INADDR_ANY);
	fill(&route.rt_gateway, network->gateway);
	return !network->gateway || ioctl(fd, SIOCADDRT, &route) == 0;
}

/* The root of a disk has a file of its own, which stays as it is. */
static void write_resolver(const char *resolver)
{
	int fd;

	mkdir("/etc", 0755);
	fd = open(RESOLVERS, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0 || dprintf(fd, "nameserver %s\n", resolver) < 0)
		say("%s: %s", RESOLVERS, strerror(errno));
	if (fd >= 0)
		close(fd);
}

void network_set_up(const struct plan *plan)
{
	const struct network *network = &plan->network;
	int fd;

	if (!network->interface)
		return;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || !set_up(fd, network))
		say("network %s: %s", network->interface, strerror(errno));
	if (fd >= 0)
		close(fd);
	if (network->resolver && !plan->root_disk && !plan->root_tag)
		write_resolver(network->resolver);
}
