/*
 * The command of a container of the fuzz test: a static program that says what it can reach.
 *
 * It prints a line for each descriptor, for each mount, for its capabilities, for each way to a
 * file of the host's root, and for each path that should be masked or read-only and isn't; `end` is
 * the last. As `wait` it does nothing, until it is killed. As `hook` it is a hook, which has three
 * descriptors: it fails with more.
 *
 * Compiled with ESCAPED it is a program of the host, which no container may run.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#define DESCRIPTORS 1024
#define CANARY "ringlet-canary"
#define UP 12 /* folders from the deepest place to the host's root */
#define PROC_MAGIC 0x9fa0

/* From a folder up to the root, if there is the host's file on the way. */
static void look_from(const char *place)
{
	struct stat status;
	char path[8192];

	for (int up = 0; up <= UP; up++) {
		size_t size = snprintf(path, sizeof(path), "%s", place);

		for (int i = 0; i < up; i++)
			size += snprintf(path + size, sizeof(path) - size, "/..");
		snprintf(path + size, sizeof(path) - size, "/" CANARY);
		if (!lstat(path, &status)) {
			printf("canary %s\n", path);
			return;
		}
	}
}

static void look_in_folder(const char *folder)
{
	DIR *entries = opendir(folder);
	struct dirent *entry;
	char path[4096];

	while (entries && (entry = readdir(entries))) {
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		if (*entry->d_name != '.')
			look_from(path);
	}
	if (entries)
		closedir(entries);
}

static void look_for_the_host(void)
{
	DIR *processes;
	struct dirent *entry;
	char path[512];

	look_from("/");
	look_from(".");
	processes = opendir("/proc");
	while (processes && (entry = readdir(processes))) {
		const char *of_process[] = { "root", "cwd" };

		if (!atoi(entry->d_name) && strcmp(entry->d_name, "self"))
			continue;
		for (int i = 0; i < 2; i++) {
			snprintf(path, sizeof(path), "/proc/%s/%s", entry->d_name, of_process[i]);
			look_from(path);
		}
		snprintf(path, sizeof(path), "/proc/%s/fd", entry->d_name);
		look_in_folder(path);
	}
	if (processes)
		closedir(processes);
}

static int show_descriptors(int most)
{
	int more = 0;

	for (int fd = 0; fd < DESCRIPTORS; fd++) {
		struct stat status;

		if (fcntl(fd, F_GETFD) < 0)
			continue;
		fstat(fd, &status);
		printf("descriptor %d %o %lu:%lu\n", fd, status.st_mode, status.st_dev, status.st_ino);
		more += fd > most;
	}
	return more;
}

static void show_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	if (!syscall(SYS_capget, &header, data))
		printf("capabilities %llu %llu %d\n",
		       data[0].effective | (unsigned long long)data[1].effective << 32,
		       data[0].permitted | (unsigned long long)data[1].permitted << 32,
		       prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
}

static void show_mounts(void)
{
	struct statfs kind;
	char line[16384];
	FILE *mounts;

	if (statfs("/proc/self", &kind) || kind.f_type != PROC_MAGIC)
		return;
	mounts = fopen("/proc/self/mountinfo", "r");
	while (mounts && fgets(line, sizeof(line), mounts))
		printf("mount %s", line);
	if (mounts)
		fclose(mounts);
}

/* Whether a folder shows anything, or a file has content. */
static int has_content(const char *path)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK), found = 0;
	struct stat status;
	char byte;

	if (fd < 0 || fstat(fd, &status) < 0)
		return 0;
	if (S_ISDIR(status.st_mode)) {
		DIR *entries = fdopendir(fd);
		struct dirent *entry;

		while (entries && (entry = readdir(entries)))
			found |= strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
		closedir(entries);
		return found;
	}
	found = read(fd, &byte, 1) > 0;
	close(fd);
	return found;
}

static void check_paths(const char *name)
{
	char *paths = getenv(name), *path;
	struct statvfs status;

	for (path = paths ? strtok(paths, ":") : NULL; path; path = strtok(NULL, ":")) {
		if (!strcmp(name, "MASKED") && has_content(path))
			printf("unmasked %s\n", path);
		if (!strcmp(name, "READONLY") && !statvfs(path, &status) && !(status.f_flag & ST_RDONLY))
			printf("writable %s\n", path);
	}
}

int main(int count, char **words)
{
	const char *what = count > 1 ? words[1] : "";

#ifdef ESCAPED
	puts("a program of the host");
	return 1;
#endif
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	if (!strcmp(what, "wait"))
		for (;;)
			pause();
	if (!strcmp(what, "hook"))
		return show_descriptors(2) ? 1 : 0;
	show_descriptors(2);
	show_capabilities();
	show_mounts();
	look_for_the_host();
	check_paths("MASKED");
	check_paths("READONLY");
	puts("end");
	return fflush(stdout) ? 1 : 0;
}
