/*
 * init.h: what the files of init know of each other. See main.c for what init is.
 */
#ifndef RINGLET_INIT_H
#define RINGLET_INIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/types.h>

/* plan.c: what to do, as the host wrote it. */

enum stdio_kind { STDIO_CONSOLE, STDIO_UART, STDIO_PORTS };
enum status_kind { STATUS_NONE, STATUS_PORT, STATUS_CONTROL };

struct module {
	char *path, *parameters;
	bool required;
};

struct share {
	char *tag, *path;
	bool writable;
};

struct plan {
	struct module *modules;
	size_t module_count;
	char *root_tag, *root_disk; /* one or none; none: the initramfs stays the root */
	struct share *shares;
	size_t share_count;
	char *hostname;
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

/* modules.c, root.c, mount.c, system.c: the system that the command finds. */

void modules_load(const struct plan *plan);
void root_switch(const struct plan *plan);
void mount_make_folders(const char *path);
void mount_or_die(const char *source, const char *target, const char *type, unsigned long flags,
		  const char *options);
void mount_9p(const char *tag, const char *target, bool writable, const char *cache);
void mount_all(const struct plan *plan);
void mount_settle(void);
void system_pause(void);
void system_name(const char *hostname);
void system_loopback(void);

/* stdio.c: the host's side of the command's streams. */

struct host {
	int input, output, errors;
	int control; /* -1: none */
	bool is_stuffed; /* input: see relay.c */
};

void host_open(struct host *host, const struct plan *plan);

/* command.c: the command, and init's ends of its streams, which don't block. */

struct command {
	pid_t pid;
	int input, output;
	int errors; /* -1: goes where output goes */
	int terminal; /* -1: none */
};

void command_start(struct command *command, const struct plan *plan);

/* relay.c: moves bytes between the two until the command ends. */

struct outcome {
	int status; /* as a shell has it: 128 + n for a death by signal n */
	uint64_t output_size, errors_size;
};

void relay_block_signals(void);
void relay_run(const struct host *host, const struct command *command, struct outcome *outcome);

/* control.c: the lines that go to and fro beside the data. */

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

/* run.c: the command, from its start to its status, which it returns. */

int run(const struct plan *plan, const struct host *host);

/* status.c: how it all ends. */

void status_report(const struct plan *plan, const struct host *host, const struct outcome *outcome);
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void die_tells(int control);
void power_off(void) __attribute__((noreturn));

#endif
