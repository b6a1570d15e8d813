/*
 * init.h: what the files of init know of each other. See main.c for what init is.
 *
 * A file calls only files that stand above it here:
 *
 *   say.c      messages
 *   control.c  the lines that go to and fro beside the data
 *   die.c      ends the machine
 *   plan.c     what to do, as the host wrote it
 *   modules.c, system.c, mount.c, root.c, network.c
 *              the system that the command finds
 *   stdio.c    the host's side of the command's streams
 *   command.c  the command, and init's ends of its streams
 *   relay.c    moves bytes between the two sides until the command ends
 *   status.c   tells the host how the command has ended
 *   run.c      the command, from its start to its status
 *   main.c     what init does, in order
 */
#ifndef RINGLET_INIT_H
#define RINGLET_INIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/types.h>

/* say.c */

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* control.c */

struct control {
	int fd;
	size_t size;
	char line[128]; /* what has come of one that isn't complete */
};

struct request {
	enum { REQUEST_SIGNAL, REQUEST_WINDOW, REQUEST_INPUT_END } kind;
	int signal;
	struct winsize window;
	uint64_t size; /* of all the input */
};

void control_say(int fd, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool control_read(struct control *control);
bool control_next(struct control *control, struct request *request);
void control_wait_for_end(int fd);

/* die.c */

/* Tells of an error, and ends the machine. */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* From now on, die() also tells the host, over this control port. */
void die_tells(int control);
void power_off(void) __attribute__((noreturn));

/* plan.c */

enum stdio_kind { STDIO_CONSOLE, STDIO_UART, STDIO_PORTS };
enum status_kind { STATUS_NONE, STATUS_PORT, STATUS_CONTROL };

struct module {
	char *path, *parameters;
	bool required;
};

struct share {
	char *tag, *path;
	bool writable, by_9p; /* else by virtio-fs */
};

struct network {
	char *interface; /* NULL: there is none to set up */
	char *resolver;	 /* or NULL */
	uint32_t address, gateway; /* in the network's order of bytes; no gateway is 0 */
	unsigned int prefix;
};

struct plan {
	struct module *modules;
	size_t module_count;
	char *root_tag, *root_disk; /* one or none; none: the initramfs stays the root */
	bool root_by_9p;	    /* else by virtio-fs */
	struct share *shares;
	size_t share_count;
	char *hostname;
	struct network network;
	char **environment; /* both end with NULL */
	char **arguments;
	char *folder;
	bool has_user;
	uid_t user;
	gid_t group, *groups;
	size_t group_count;
	enum stdio_kind stdio;
	bool has_terminal;
	struct winsize window;
	enum status_kind status;
};

void plan_read(struct plan *plan, const char *path);

/* modules.c, system.c, mount.c, root.c */

void modules_load(const struct plan *plan);
void system_pause(void);
void system_name(const char *hostname);
void system_loopback(void);
void mount_make_folders(const char *path);
void mount_or_die(const char *source, const char *target, const char *type, unsigned long flags,
		  const char *options);
void mount_9p(const char *tag, const char *target, bool writable, const char *cache);
void mount_virtiofs(const char *tag, const char *target, bool writable);
void mount_all(const struct plan *plan);
void mount_settle(void);
void root_switch(const struct plan *plan);

/* network.c */

void network_set_up(const struct plan *plan);

/* stdio.c */

struct host {
	int input, output, errors;
	int control; /* -1: none */
	bool is_stuffed; /* input: see relay.c */
};

void host_open(struct host *host, const struct plan *plan);

/* command.c */

struct command { /* init's ends of its streams don't block */
	pid_t pid;
	int input, output;
	int errors; /* -1: goes where output goes */
	int terminal; /* -1: none */
};

void command_start(struct command *command, const struct plan *plan);

/* relay.c */

struct outcome {
	int status; /* as a shell has it: 128 + n for a death by signal n */
	uint64_t output_size, errors_size;
};

void relay_go_first(void);
void relay_block_signals(void);
void relay_run(const struct host *host, const struct command *command, struct outcome *outcome);

/* status.c */

void status_report(const struct plan *plan, const struct host *host, const struct outcome *outcome);

/* run.c */

/* Returns the command's status. */
int run(const struct plan *plan, const struct host *host);

#endif
