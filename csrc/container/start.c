/*
 * start.c: the container is made, and waits for its start.
 */
#include "container.h"

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
	must(sys(write, control, &stages, 1 + stages_count * sizeof(stages.times[0])), "telling ringlet");
	close_fd(&control);
	close_fd(&orders);
}

/*
 * wait WHAT ORDERS REPORTS: waits until `start` writes to the pipe ORDERS. REPORTS then hears how it goes.
 * If ORDERS ends, the process that made this one has ended, and the container ends with it.
 */
void step_wait(void)
{
	long size;
	char go;

	orders = number();
	control = number();
	do
		size = sys(read, orders, &go, sizeof(go));
	while (size == -EINTR);
	if (size != sizeof(go))
		fail("ringlet has ended", ECANCELED);
	close_fd(&orders);
}
