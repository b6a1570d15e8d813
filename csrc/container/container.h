/*
 * container.h: what the files of the helper share. container.c says what the helper is, and which
 * step is in which file.
 *
 * A file uses only what stands above its own part here. Each file includes this header first.
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
#define WORDS_MAX (1 << 16) /* of all lists in a plan */
#define MNT_DETACH 2 /* <sys/mount.h> and <linux/mount.h> exclude each other */

/* ---- report.c: what ringlet hears of the helper ---- */

/*
 * Two pipes of packets: `control` to ringlet, where the first byte of a packet says what kind it is, and
 * `orders` from ringlet. No sockets: by a socket, others who take it from a process that they see reach
 * the process at its other end (SO_PEERPIDFD).
 */
extern int control, orders;
/* The first two words of the step's line, which the report of an error names. */
extern char *step, *what;

/* Reports the error of this step, and ends the helper. */
void fail(const char *operation, long error) __attribute__((noreturn));
/* `result`, if it is no error; else fails. */
long must(long result, const char *operation);
/* The same. The report also has the object of the operation. */
long must_on(long result, const char *operation, const char *object);
/* The same, for an operation on a file system's context `fs`. The report also has the kernel's own words. */
void must_fs(int fs, long result, const char *operation, const char *object);
/* Sends a packet of a kind and a number. */
void tell(char kind, int value);

/* ---- plan.c: the plan, and the words of its lines ---- */

/* The plan's lines, and the binary data behind them. */
extern char *plan_text, *blob;
/* The words of the line that no step has taken yet; NULL if there are none. */
extern char *line;

/* The next word of the line; NULL if there is none. */
char *optional(void);
/* The next word of the line; fails if there is none. */
char *text(void);
/* The next word of the line as a number. */
unsigned long number(void);
/* The same; the number may have a minus sign. */
long signed_number(void);
/* The number that the text stands for. */
unsigned long parse(const char *digits);
/* The next words of the line, `most` at most, as a list that ends with NULL. */
char **words_until_end(unsigned long most);
/* Adds one more NULL to the list that was made last. */
void end_words(void);

/* ---- files.c: small operations on files and descriptors ---- */

/* procfs as this program's starter sees it: no file of the container's. */
extern int host_proc;

/* Closes *fd if it is open, and makes it -1. */
void close_fd(int *fd);
/* Writes to a file of the kernel's, which takes the content in one piece. */
void write_file(int folder, const char *path, const char *content);
/* The device's number, as the kernel takes and gives it. */
dev_t make_device(unsigned major, unsigned minor);
/* Whether the descriptor's file is of this type (S_IF...). */
int is_type(int fd, mode_t type);
/* Whether the descriptor's file is this device. */
int is_device(int fd, mode_t type, dev_t device);
/* Whether the two descriptors are of the same file. */
int is_same_file(int one, int other);
/* Whether the descriptor's file is in a file system of this kind (..._MAGIC). */
int is_on(int fd, long magic);
/* Whether a device is none where the descriptor's file is: the mount is nodev. */
int has_no_devices(int fd);
/* Sends a descriptor, and a text with it, over a socket. */
void send_fd(int socket, int fd, const char *name);
/* Opens a file of host_proc. */
int open_proc(const char *path, int flags);
/* Writes to a file of host_proc. */
void write_proc(const char *path, const char *content);
/* The path in host_proc of a file in /proc/self. */
void own_path(char path[PATH_SIZE], const char *name);
/* Writes to a file in /proc/self. */
void write_own(const char *name, const char *content);

/* ---- paths.c: paths in the container ---- */

/* The container's root, before pivot_root and after. */
extern int root;

/* Opens `path` in `folder`; gives the descriptor or a negative error. */
long lookup_in(int folder, const char *path, int flags, unsigned long resolve);
/* The same in the container's root. */
long lookup(const char *path, int flags, unsigned long resolve);
/* Makes what is missing of `path` in the container's root; gives the descriptor of its last part. */
int make(const char *path, mode_t type);

/* ---- host.c ---- */

/* Descriptors below this one are the command's: the streams, and those that are passed on. */
extern int first_own;
/* The umask of the process that started the helper. */
extern mode_t starters_umask;

/* ---- rights.c ---- */

/* Makes all permitted capabilities effective, which a change of user has taken. */
void step_all_capabilities(void);

/* ---- namespaces.c ---- */

/* The namespace of process ids that the container's processes will be in; -1: a new one, or none. */
extern int pid_namespace;
/* The cgroup of version 2 in which the next child is born; -1: this process's. */
extern int unified;

/* ---- mounts.c ---- */

/* The tree of mounts whose number in the plan is the next word; its descriptor. */
int *mount_slot(void);
/* The kernel's id of the mount that the descriptor's file is in: no two mounts have the same. */
uint64_t mount_id(int fd);
/* Notes that this plan has made the mount. */
void is_made_here(int mount);
/* Whether the descriptor's file is in a mount that this plan has made. */
int is_own(int fd);

/* ---- mountinfo.c: the kernel's table of mounts ---- */

/* The table of this process's mounts, a line each. */
char *read_mount_table(void);
/* Decodes the escapes of a word of the table, and ends the word with a zero byte. Returns what follows. */
char *mountinfo_word(char *word);
/* Wipes the table of the host's mounts from memory. */
void forget_mount_table(void);

/* ---- peers.c ---- */

/*
 * Fails if a mount on the target would show on the host, where `path`, by which the configuration calls
 * the target, doesn't say so. NULL: the configuration can't mean that.
 */
void refuse_peer(int target, const char *path);

/* ---- attach.c ---- */

/*
 * Mounts the tree on the target, which the configuration calls `path`: not where refuse_peer says no, nor
 * over the root: that would have no effect, since the process's root stays the one below, and
 * a process that joins would see the other one.
 */
void mount_on(int target, const char *path, int tree);

/* Opens a path in the container's root. Below /proc and /sys, it is in the mounts that the plan put there. */
long lookup_protected(const char *path);
/* Forgets the mounts at /proc and /sys, whose descriptors are closed. */
void forget_kernels(void);

/* ---- devices.c ---- */

/*
 * The folder of `path`, made if it isn't there; -1 if it is in a file system that isn't the container's
 * own. *name is where the last part begins.
 */
int own_parent(const char *path, const char **name);
/* Makes the mount of a device read-only, so that the device's mode and owner stay. */
void keep_inode(int mount);

/* ---- masks.c ---- */

/* The device that covers files; -1: the plan has not opened it. */
extern int null_device;

/* ---- close.c ---- */

/* Whether the user namespace allows no change of groups. */
extern int groups_stay;

#endif
