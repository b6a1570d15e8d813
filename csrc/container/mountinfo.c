/*
 * mountinfo.c: reads the kernel's table of this process's mounts.
 *
 * Source: proc_pid_mountinfo(5).
 */
#include "container.h"

static char mount_table[1 << 20];

char *read_mount_table(void)
{
	char path[PATH_SIZE];
	size_t size = 0;
	long count;
	int fd;

	own_path(path, "mountinfo");
	fd = open_proc(path, O_RDONLY);
	while ((count = must(sys(read, fd, mount_table + size, sizeof(mount_table) - 1 - size),
			     "read mountinfo")) > 0)
		size += count;
	if (size == sizeof(mount_table) - 1)
		fail("too many mounts", E2BIG);
	mount_table[size] = '\0';
	close_fd(&fd);
	return mount_table;
}

char *mountinfo_word(char *word)
{
	char *to = word, *from = word;

	for (; *from && *from != ' '; from++) {
		if (*from == '\\' && from[1] && from[2] && from[3]) {
			*to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 3;
		} else {
			*to++ = *from;
		}
	}
	from = *from ? from + 1 : from;
	*to = '\0';
	return from;
}

void forget_mount_table(void)
{
	if (*mount_table)
		memset(mount_table, 0, sizeof(mount_table));
}
