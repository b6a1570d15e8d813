/*
 * scheduling.c: how the kernel runs the process: when, on which processors, with memory of which nodes.
 *
 * Source: sched_setattr(2), set_mempolicy(2), ioprio_set(2), personality(2).
 */
#include "container.h"

#include <linux/sched/types.h>

void step_personality(void)
{
	must(sys(personality, number()), "personality");
}

/* scheduler POLICY N FLAGS NICE PRIORITY RUNTIME DEADLINE PERIOD */
void step_scheduler(void)
{
	struct sched_attr attr = { .size = sizeof(attr), .sched_policy = number() };

	attr.sched_flags = number();
	attr.sched_nice = signed_number();
	attr.sched_priority = number();
	attr.sched_runtime = number();
	attr.sched_deadline = number();
	attr.sched_period = number();
	must(sys(sched_setattr, 0, &attr, 0), "sched_setattr");
}

/* affinity CPUS WORD...: a mask of 64 CPUs in each word. */
void step_affinity(void)
{
	uint64_t mask[64] = { 0 };
	size_t count = 0;

	while (line && count < sizeof(mask) / sizeof(mask[0]))
		mask[count++] = number();
	must(sys(sched_setaffinity, 0, count * sizeof(mask[0]), mask), "sched_setaffinity");
}

/* memory_policy NAME MODE WORD...: of which nodes memory is; 64 of them in each word. */
void step_memory_policy(void)
{
	unsigned long mode = number(), nodes[16];
	size_t count = 0;

	while (line) {
		if (count == sizeof(nodes) / sizeof(nodes[0]))
			fail("more nodes than the kernel knows", EINVAL);
		nodes[count++] = number();
	}
	/* The kernel takes a count of bits that is one too high. */
	must(sys(set_mempolicy, mode, count ? nodes : NULL, count * 64 + 1), "set_mempolicy");
}

void step_io_priority(void)
{
	must(sys(ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, 0, number()), "ioprio_set");
}
