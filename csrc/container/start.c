/*
 * start.c: the container is made, and waits for its start.
 */
#include "container.h"

#include <linux/prctl.h>
#include <sys/socket.h>
#include <time.h>

#define STAGES_MAX 4

static struct {
	char kind;
	uint64_t times[STAGES_MAX]; /* CLOCK_MONOTONIC, nanoseconds */
} __attribute__((packed)) stages = { .kind = 'R' };
static int stages_count;

/* stage: a part of the making is over. `ready` tells ringlet when, to save a message. */
void step_stage(void)
{
	struct timespec now;

	if (stages_count == STAGES_MAX)
		fail("more stages than there is room for", E2BIG);
	must(sys(clock_gettime, CLOCK_MONOTONIC, &now), "clock_gettime");
	stages.times[stages_count++] = (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ready: tells ringlet that the container is made. From here on the container lives on its own. */
void step_ready(void)
{
	must(sys(prctl, PR_SET_PDEATHSIG, 0), "prctl");
	must(sys(write, control, &stages, 1 + stages_count * sizeof(stages.times[0])), "telling ringlet");
	close_fd(&control);
}

/*
 * wait PATH SOCKET: waits until `start` connects to the socket and says so. The connection then hears how
 * it goes. The socket may be a connection already, to the process that made this one: the container
 * ends with that process.
 */
void step_wait(void)
{
	int socket = number();
	char go;

	for (;;) {
		int connection = sys(accept4, socket, NULL, NULL, SOCK_CLOEXEC);

		if (connection == -EINTR || connection == -ECONNABORTED)
			continue;
		if (connection == -EINVAL) {
			control = socket;
			if (sys(read, control, &go, 1) != 1)
				fail("ringlet has ended", ECANCELED);
			return;
		}
		control = must(connection, "accept");
		if (sys(read, control, &go, 1) == 1)
			break;
		close_fd(&control); /* it was no `start` */
	}
	close_fd(&socket);
}
