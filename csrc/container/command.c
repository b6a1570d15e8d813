/*
 * command.c: the command: looked for, and in the end run.
 *
 * Source: execve(2), passwd(5).
 */
#include "container.h"

#define PASSWD_MAX (1 << 20) /* bytes that are looked at */

static char **arguments, **environment;
static const char *command; /* where arguments[0] is found */

/* 0 if the path is a program that can be run; else a negative error. */
static long is_program(const char *path)
{
	struct stat status;
	long result = sys(newfstatat, AT_FDCWD, path, &status, 0);

	if (result < 0)
		return result;
	if (S_ISDIR(status.st_mode))
		return -EACCES;
	return sys(faccessat, AT_FDCWD, path, X_OK);
}

/* Whether the text, up to a colon, is this number. */
static int is_number(const char *digits, unsigned long value)
{
	char expected[24] = "";
	size_t size;

	append_number(expected, sizeof(expected), value);
	size = length(expected);
	for (size_t i = 0; i < size; i++)
		if (digits[i] != expected[i])
			return 0;
	return digits[size] == ':';
}

/*
 * The home folder of a user, by the container's /etc/passwd; `/` if the file doesn't have the user. The
 * file is the image's, and is read with the command's rights.
 */
static const char *home_of(uid_t user)
{
	static char entry[PATH_SIZE];
	size_t size = 0;
	char bytes[1024];
	long count, fd = sys(openat, AT_FDCWD, "/etc/passwd",
			     O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	long left = PASSWD_MAX;

	if (fd < 0 || !is_type(fd, S_IFREG))
		left = 0;
	while (left > 0 && (count = sys(read, fd, bytes, sizeof(bytes))) >= 0) {
		left -= count;
		if (!count) { /* the last line may have no end */
			bytes[count++] = '\n';
			left = 0;
		}
		for (long i = 0; i < count; i++) {
			char *field = entry, *end;

			if (bytes[i] != '\n') {
				if (size < sizeof(entry) - 1)
					entry[size] = bytes[i];
				size++;
				continue;
			}
			entry[size < sizeof(entry) ? size : 0] = '\0'; /* one that is too long is none */
			size = 0;
			for (int fields = 0; field && fields < 2; fields++) /* name:password:UID */
				field = (field = find(field, ':')) ? field + 1 : NULL;
			if (!field || !is_number(field, user))
				continue;
			for (int fields = 2; field && fields < 5; fields++) /* ...:GID:about:HOME */
				field = (field = find(field, ':')) ? field + 1 : NULL;
			if (!field || *field != '/')
				continue;
			if ((end = find(field, ':')))
				*end = '\0';
			sys(close, fd);
			return field;
		}
	}
	if (fd >= 0)
		sys(close, fd);
	return "/";
}

/* HOME, where the environment has none: what users of engines expect, since runc does it. */
static void set_home(void)
{
	static char home[PATH_SIZE + 8] = "HOME=";
	char **variable = environment;

	while (*variable && __builtin_memcmp(*variable, "HOME=", 5))
		variable++;
	if (*variable && (*variable)[5])
		return;
	append(home, sizeof(home), home_of(sys(getuid)));
	if (!*variable) /* the environment is the list that was made last */
		end_words();
	*variable = home;
}

/* command NAME COUNT ARGUMENT... VARIABLE...: finds the command now, so that `create` can fail. */
void step_command(void)
{
	static char found[PATH_SIZE];
	const char *path = "/bin:/usr/bin";
	long result, worst = -ENOENT;

	arguments = words_until_end(number());
	environment = words_until_end(WORDS_MAX);
	set_home();
	for (char **variable = environment; *variable; variable++)
		if (!__builtin_memcmp(*variable, "PATH=", 5))
			path = *variable + 5;
	if (find(what, '/')) {
		must(is_program(what), "it can't be run");
		command = what;
		return;
	}
	while (*path) {
		size_t size = 0;

		while (*path && *path != ':' && size < sizeof(found) - 1)
			found[size++] = *path++;
		if (!size)
			found[size++] = '.'; /* an empty one is the working directory */
		found[size] = '\0';
		while (*path && *path != ':')
			path++;
		if (*path == ':')
			path++;
		append(found, sizeof(found), "/");
		append(found, sizeof(found), what);
		result = is_program(found);
		if (!result) {
			command = found;
			return;
		}
		if (result == -EACCES)
			worst = result;
	}
	fail(worst == -ENOENT ? "executable file not found in $PATH" : "it can't be run", -worst);
}

/* exec: runs the command. The pipe of reports closes by that, which says that it went well. */
void step_exec(void)
{
	tell('X', 0);
	what = (char *)command;
	must(sys(execve, command, arguments, environment), "execve");
}
