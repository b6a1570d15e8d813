/*
 * close.c: closes the descriptors of the host, and wipes from memory what the plan has said of it.
 */
#include "container.h"

int groups_stay;

/*
 * Whether the groups of the user namespace's maker stay: a maker without rights can't drop a group,
 * since a group may deny something.
 */
static int keeps_groups(void)
{
	char path[PATH_SIZE], word[8] = "";
	int fd;

	own_path(path, "setgroups");
	fd = open_proc(path, O_RDONLY);
	must(sys(read, fd, word, sizeof(word) - 1), "read setgroups");
	close_fd(&fd);
	return !__builtin_memcmp(word, "deny", 4);
}

/* Wipes what the steps till here have left in memory: paths of the host, and what its hooks are told. */
static void __attribute__((noinline)) forget(void)
{
	char stack[1 << 16];

	memset(stack, 0, sizeof(stack));
	memset(plan_text, 0, step - plan_text);
	forget_mount_table();
	__asm__ volatile("" : : "r"(stack) : "memory");
}

/*
 * close WHAT FD...: closes all descriptors but the command's, the pipes of reports and orders, and these;
 * and wipes from memory what the plan has said of the host till here.
 * By a descriptor that is open, a path of the image leads out of it: /proc/self/fd/N/.. as a command,
 * an interpreter, a working directory (CVE-2024-21626). exec closes too late, after it has looked
 * the path up; so from here on there is no such descriptor. None of those that stay is a folder.
 */
void step_close(void)
{
	unsigned long kept[8] = { control, orders };
	size_t count = 2;
	unsigned from = first_own;

	groups_stay = keeps_groups();
	while (line && count < sizeof(kept) / sizeof(kept[0]))
		kept[count++] = number();
	while (from != ~0U) { /* the next that is kept, and what is before it */
		unsigned next = ~0U;

		for (size_t i = 0; i < count; i++)
			if (kept[i] >= from && kept[i] < next)
				next = kept[i];
		if (next > from)
			must(sys(close_range, from, next == ~0U ? next : next - 1, 0), "close_range");
		from = next == ~0U ? next : next + 1;
	}
	host_proc = null_device = unified = pid_namespace = -1;
	root = AT_FDCWD;
	forget_kernels();
	forget();
}
