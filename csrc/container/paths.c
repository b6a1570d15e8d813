/*
 * paths.c: paths in the container: looked up, and made, so that none leads out of its root.
 *
 * Source: openat2(2), path_resolution(7).
 */
#include "container.h"

#include <linux/openat2.h>

#define LINKS_MAX 40 /* as the kernel's own walk */

int root = AT_FDCWD;

/*
 * No link, no `..` and no rename at this moment leads out of the folder: with RESOLVE_IN_ROOT the
 * folder is the root, with RESOLVE_BENEATH a path that leads out is an error. The descriptor stays
 * what it is, whatever the path means later.
 */
long lookup_in(int folder, const char *path, int flags, unsigned long resolve)
{
	struct open_how how = {
		.flags = (unsigned)flags | O_CLOEXEC,
		.resolve = RESOLVE_NO_MAGICLINKS | resolve,
	};
	long fd;

	do
		fd = sys(openat2, folder, path, &how, sizeof(how));
	while (fd == -EAGAIN); /* something was renamed meanwhile, so `..` isn't sure */
	return fd;
}

/* The kernel looks up each part of `path` as if the root were the container's (CVE-2021-30465). */
long lookup(const char *path, int flags, unsigned long resolve)
{
	return lookup_in(root, path, flags, RESOLVE_IN_ROOT | resolve);
}

static long make_in(int folder, const char *name, mode_t type)
{
	return type == S_IFDIR ? sys(mkdirat, folder, name, 0755) :
				 sys(mknodat, folder, name, S_IFREG | 0644, 0);
}

/* Also makes what a link on the way points to. */
int make(const char *path, mode_t type)
{
	char done[2 * PATH_SIZE] = ".", rest[2 * PATH_SIZE] = "", name[PATH_SIZE];
	char *last_slash;
	int tries = 0;

	if (length(path) >= PATH_SIZE) /* before any folder of it is made */
		fail("the path is too long", ENAMETOOLONG);
	append(rest, sizeof(rest), path);
	/* Most often it's the last part alone, and the kernel walks faster than what follows. */
	if ((last_slash = find_last(rest, '/')) && last_slash > rest) {
		long parent, made;

		*last_slash = '\0';
		parent = lookup(rest, O_PATH | O_DIRECTORY, 0);
		*last_slash = '/';
		made = parent < 0 ? parent : make_in(parent, last_slash + 1, type);
		if (parent >= 0)
			sys(close, parent);
		if (!made)
			return must_on(lookup(path, O_PATH, 0), "open", path);
	}
	for (;;) {
		char *from = rest, *end, *slash;
		size_t size = length(done);
		int fd, last;

		while (*from == '/')
			from++;
		for (end = from; *end && *end != '/'; end++)
			;
		name[0] = '\0';
		if ((size_t)(end - from) >= sizeof(name))
			fail("the path is too long", ENAMETOOLONG);
		memcpy(name, from, end - from);
		name[end - from] = '\0';
		while (*end == '/')
			end++;
		last = !*end;
		if (same(name, "..")) {
			if ((slash = find_last(done, '/')))
				*slash = '\0';
		} else if (*name && !same(name, ".")) {
			append(done, sizeof(done), "/");
			append(done, sizeof(done), name);
		}
		if (length(done) >= PATH_SIZE)
			fail("the path is too long", ENAMETOOLONG);
		fd = lookup(done, O_PATH | O_NOFOLLOW, 0);
		if (fd == -ENOENT) {
			int parent;
			long made;

			done[size] = '\0';
			parent = must_on(lookup(done, O_PATH | O_DIRECTORY, 0), "open", done);
			made = make_in(parent, name, last ? type : S_IFDIR);
			close_fd(&parent);
			if (made != -EEXIST)
				must_on(made, "make", path);
			if (++tries > 1000)
				fail("it changes all the time", ELOOP);
			continue; /* to what is there now */
		}
		must_on(fd, "open", done);
		if (is_type(fd, S_IFLNK)) {
			char target[2 * PATH_SIZE];
			long count = must(sys(readlinkat, fd, "", target, PATH_SIZE), "readlink");

			close_fd(&fd);
			if (count >= PATH_SIZE || ++tries > LINKS_MAX)
				fail("too many links", ELOOP);
			target[count] = '\0';
			append(target, sizeof(target), "/");
			append(target, sizeof(target), end);
			done[*target == '/' ? 1 : size] = '\0';
			rest[0] = '\0';
			append(rest, sizeof(rest), target);
			continue;
		}
		if (last)
			return fd;
		close_fd(&fd);
		memcpy(rest, end, length(end) + 1);
	}
}
