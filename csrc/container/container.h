/*
 * container.h: what the files of the helper know of each other. container.c says what the helper is
 * and which step is in which file.
 *
 * Each file includes this header first.
 */
#ifndef CONTAINER_H
#define CONTAINER_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>

#include "bare_x86_64.h"

#define PATH_SIZE 4096
#define WORDS_MAX (1 << 16)
#define MNT_DETACH 2 /* <sys/mount.h> and <linux/mount.h> exclude each other */

/* report.c: what ringlet hears. */

extern int control; /* hears what happens: a socket of packets, the first byte says which */

/* Reports the error of this step, and ends the helper. */
void fail(const char *operation, long error) __attribute__((noreturn));
/* `result`, if it is no error. */
long must(long result, const char *operation);
/* The same, and the report has also what the operation was done to. */
long must_on(long result, const char *operation, const char *object);
void tell(char kind, int value);

/* plan.c: the words of the plan's lines. */

extern char *plan_text, *blob; /* the plan's lines; the binary data behind them */
extern char *step, *what; /* the line's first two words */
extern char *line; /* its further words; NULL: there is none left */

/* The next word of the line; NULL if there is none. */
char *optional(void);
/* The next word, which has to be there; as a text, or as a number. */
char *text(void);
unsigned long number(void);
long signed_number(void);
unsigned long parse(const char *digits);
/* Whether the text, up to a colon, is this number. */
int is_number(const char *digits, unsigned long value);
/* The line's next words, at most so many, as a list that ends with NULL. */
char **words_until_end(unsigned long most);
/* One more NULL behind the list that was made last. */
void end_words(void);

/* files.c: small operations on files and descriptors. */

extern int host_proc; /* procfs as this program's starter sees it: no file of the container's */

void close_fd(int *fd);
void write_file(int folder, const char *path, const char *content);
dev_t make_device(unsigned major, unsigned minor);
int is_type(int fd, mode_t type);
int is_device(int fd, mode_t type, dev_t device);
int is_on(int fd, long magic);
long open_again(int fd, int flags);
long change_mode(int fd, mode_t mode);
void send_fd(int socket, int fd, const char *name);
/* Files of host_proc; the `own` ones are in /proc/self. */
int open_proc(const char *path, int flags);
void write_proc(const char *path, const char *content);
void own_path(char path[PATH_SIZE], const char *name);
void write_own(const char *name, const char *content);

/* paths.c: paths in the container. */

extern int root; /* the container's root: before pivot_root, and after */

long lookup_in(int folder, const char *path, int flags, unsigned long resolve);
long lookup(const char *path, int flags, unsigned long resolve);
int make(const char *path, mode_t type);
int make_parent(const char *path, const char **name);

/* host.c: what the helper does first. */

extern int first_own; /* descriptors below it are the command's: the streams, and what is passed on */
extern mode_t starters_umask;

/* namespaces.c, process.c: the new process in its namespaces. */

extern int pid_namespace; /* of others, which the container's processes will be in; -1: none */
extern int unified; /* the cgroup of version 2 in which the next child is born; -1: none */
extern long outer_pid; /* this process, as ringlet sees it */

/* mounts.c: trees of mounts, and which of them this plan has made. */

int *mount_slot(void);
uint64_t mount_id(int fd);
void is_made_here(int mount);
int is_own(int fd);

/* filesystem.c */

void must_fs(int fs, long result, const char *operation, const char *object);

/* attach.c: what is mounted at /proc and /sys. */

long lookup_protected(const char *path);
void forget_kernels(void);

/* devices.c */

int own_parent(const char *path, const char **name);
void keep_inode(int mount);

/* pivot.c, masks.c, close.c: what the host leaves behind. */

extern int null_device; /* covers files that are masked; -1: the plan has not opened it */
extern int groups_stay; /* the user namespace allows no change of groups */

void forget_mount_table(void);

#endif
