/*
 * plan.c: the plan, a text of lines `KEY WORD...`.
 *
 *   module PATH [PARAMETERS]   load it; `module!` if there's no going on without it
 *   root9p TAG                 the root: this 9p file system, below an overlay that takes writes
 *   rootfs TAG                 the same, by virtio-fs
 *   rootdisk DEVICE            the root: the file system on this block device
 *   share TAG PATH [rw]        mount another 9p file system over PATH
 *   volume TAG PATH [rw]       the same, by virtio-fs
 *   hostname NAME
 *   network INTERFACE ADDRESS PREFIX [GATEWAY [RESOLVER]]
 *                              an interface with its IPv4 address, the router and the name server
 *   env NAME=VALUE             the command's environment is these, and a PATH
 *   cwd PATH
 *   user UID GID [GID...]      root if not given
 *   arg TEXT                   the command, then its arguments; if not given, a disk's /sbin/init
 *                              takes the place of this one
 *   stdio console|uart|ports   where its streams come from and go to; see stdio.c
 *   tty ROWS COLUMNS           they are a terminal
 *   status port|control        where its status goes; see status.c
 *
 * In a word, %XX is the byte of that hexadecimal number: what a newline, a space or a percent sign
 * has to be written as. Where a key takes one word, it goes to the end of the line. module, share,
 * volume, env and arg may be repeated.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init.h"

#define LIMIT (4 << 20) /* bytes: twice what execve takes */

static char *read_text(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat stat;
	char *text;

	if (fd < 0 || fstat(fd, &stat) < 0)
		die("%s: %s", path, strerror(errno));
	if (stat.st_size > LIMIT)
		die("%s: it is too long", path);
	text = calloc(1, stat.st_size + 1);
	if (!text || read(fd, text, stat.st_size) != stat.st_size)
		die("%s: it can't be read", path);
	if (strlen(text) != (size_t)stat.st_size)
		die("%s: there is a zero byte in it", path);
	close(fd);
	return text;
}

static void *table(size_t count, size_t size)
{
	void *entries = calloc(count, size);

	if (!entries)
		die("no memory for the plan");
	return entries;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static char *decode(char *word)
{
	char *to = word;

	for (char *from = word; *from; from++) {
		if (*from == '%') {
			int high = digit(from[1]), low = high < 0 ? -1 : digit(from[2]);

			if (low < 0 || high + low == 0)
				die("plan: a wrong escape in: %s", word);
			*to++ = (char)(high << 4 | low);
			from += 2;
		} else {
			*to++ = *from;
		}
	}
	*to = '\0';
	return word;
}

/* The next word of *rest, which moves on; NULL if there is none. */
static char *optional(char **rest)
{
	char *word = *rest && **rest ? strsep(rest, " ") : NULL;

	return word ? decode(word) : NULL;
}

static char *word(char **rest)
{
	char *found = optional(rest);

	if (!found)
		die("plan: a word is missing");
	return found;
}

static unsigned long parse_number(const char *digits, unsigned long limit)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(digits, &end, 10);
	if (*digits < '0' || *digits > '9' || *end || errno || value > limit)
		die("plan: not a number up to %lu: %s", limit, digits);
	return value;
}

static unsigned long number(char **rest, unsigned long limit)
{
	return parse_number(word(rest), limit);
}

/* Which of `names` the next word is. */
static int choice(char **rest, const char *const *names)
{
	const char *found = word(rest);

	for (int i = 0; names[i]; i++)
		if (!strcmp(found, names[i]))
			return i;
	die("plan: not known: %s", found);
}

static void parse_user(struct plan *plan, char **rest)
{
	char *group;

	plan->has_user = true;
	plan->user = number(rest, UINT32_MAX - 1);
	plan->group = number(rest, UINT32_MAX - 1);
	plan->group_count = 0;
	plan->groups = table(strlen(*rest ? *rest : "") + 1, sizeof(gid_t));
	while ((group = optional(rest)))
		plan->groups[plan->group_count++] = parse_number(group, UINT32_MAX - 1);
}

static void parse_share(struct share *share, char **rest)
{
	char *mode;

	share->tag = word(rest);
	share->path = word(rest);
	mode = optional(rest);
	if (mode && strcmp(mode, "rw"))
		die("plan: not rw: %s", mode);
	share->writable = mode;
}

static in_addr_t parse_address(const char *text)
{
	struct in_addr address;

	if (inet_pton(AF_INET, text, &address) != 1)
		die("plan: not an address: %s", text);
	return address.s_addr;
}

static void parse_network(struct network *network, char **rest)
{
	char *gateway;

	network->interface = word(rest);
	network->address = parse_address(word(rest));
	network->prefix = number(rest, 32);
	if (network->prefix == 0)
		die("plan: a network with a prefix of 0");
	gateway = optional(rest);
	network->gateway = gateway ? parse_address(gateway) : 0;
	network->resolver = optional(rest);
}

static void parse_module(struct module *module, char **rest)
{
	char *parameters;

	module->path = word(rest);
	parameters = optional(rest);
	module->parameters = parameters ? parameters : "";
}

/* A value that goes to the end of the line. */
static char *whole(char **rest)
{
	char *value = *rest;

	*rest = NULL;
	if (!value)
		die("plan: a value is missing");
	return decode(value);
}

static void parse_line(struct plan *plan, char *line, size_t *variables, size_t *arguments)
{
	static const char *const stdio_names[] = { "console", "uart", "ports", NULL };
	static const char *const status_names[] = { "none", "port", "control", NULL };
	char *rest = line, *key = strsep(&rest, " ");

	if (!strcmp(key, "module") || !strcmp(key, "module!")) {
		struct module *module = &plan->modules[plan->module_count++];

		module->required = key[strlen("module")];
		parse_module(module, &rest);
	} else if (!strcmp(key, "root9p") || !strcmp(key, "rootfs")) {
		plan->root_by_9p = !strcmp(key, "root9p");
		plan->root_tag = word(&rest);
	} else if (!strcmp(key, "rootdisk")) {
		plan->root_disk = word(&rest);
	} else if (!strcmp(key, "share") || !strcmp(key, "volume")) {
		struct share *share = &plan->shares[plan->share_count++];

		share->by_9p = !strcmp(key, "share");
		parse_share(share, &rest);
	} else if (!strcmp(key, "hostname")) {
		plan->hostname = whole(&rest);
	} else if (!strcmp(key, "network")) {
		parse_network(&plan->network, &rest);
	} else if (!strcmp(key, "env")) {
		plan->environment[(*variables)++] = whole(&rest);
	} else if (!strcmp(key, "cwd")) {
		plan->folder = whole(&rest);
	} else if (!strcmp(key, "user")) {
		parse_user(plan, &rest);
	} else if (!strcmp(key, "arg")) {
		plan->arguments[(*arguments)++] = whole(&rest);
	} else if (!strcmp(key, "stdio")) {
		plan->stdio = choice(&rest, stdio_names);
	} else if (!strcmp(key, "tty")) {
		plan->has_terminal = true;
		plan->window.ws_row = number(&rest, UINT16_MAX);
		plan->window.ws_col = number(&rest, UINT16_MAX);
	} else if (!strcmp(key, "status")) {
		plan->status = choice(&rest, status_names);
	} else {
		die("plan: not a key: %s", key);
	}
	if (rest)
		die("plan: too many words for %s: %s", key, rest);
}

void plan_read(struct plan *plan, const char *path)
{
	char *text = read_text(path), *line;
	size_t lines = 1, variables = 0, arguments = 0;

	for (char *c = text; *c; c++)
		lines += *c == '\n';
	memset(plan, 0, sizeof(*plan));
	plan->modules = table(lines, sizeof(*plan->modules));
	plan->shares = table(lines, sizeof(*plan->shares));
	plan->environment = table(lines + 1, sizeof(*plan->environment));
	plan->arguments = table(lines + 1, sizeof(*plan->arguments));
	while ((line = strsep(&text, "\n")))
		if (*line)
			parse_line(plan, line, &variables, &arguments);
	if (plan->root_tag && plan->root_disk)
		die("plan: two roots");
	if (!arguments && !plan->root_disk && !plan->root_tag)
		die("plan: it has no command");
	if (plan->status == STATUS_CONTROL && plan->stdio != STDIO_PORTS)
		die("plan: `status control` needs `stdio ports`");
}
