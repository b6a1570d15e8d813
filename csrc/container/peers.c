/*
 * peers.c: a mount in the container shows on the host where the configuration says so, and nowhere else.
 *
 * A volume that is `shared` is a peer of the host's mount: the kernel repeats each mount in the one also
 * in the other. Links of the image, or of the volume, could lead any mount into such a volume, and then
 * the mount would cover a file of the host's, even after the container's end.
 *
 * Source: Linux, Documentation/filesystems/sharedsubtree.rst; mount_namespaces(7).
 */
#include "container.h"

#include <linux/openat2.h>

#define PEERS_MAX 64

static struct {
	const char *path;
	uint64_t mount;
} peers[PEERS_MAX];
static size_t peer_count;

/* peer TARGET SLOT: notes that the tree, which will be mounted at TARGET, may be a peer of the host's. */
void step_peer(void)
{
	if (peer_count == PEERS_MAX)
		fail("too many volumes that are shared", E2BIG);
	peers[peer_count].path = what;
	peers[peer_count++].mount = mount_id(*mount_slot());
}

/* Whether the mount that the descriptor's file is in has peers. */
static int is_shared(int fd)
{
	char id[24] = "";
	size_t size;

	append_number(id, sizeof(id), mount_id(fd));
	append(id, sizeof(id), " ");
	size = length(id);
	for (char *at = read_mount_table(), *next; *at; at = next) {
		char *end = find(at, '\n'), *word = at;

		next = end ? end + 1 : at + length(at);
		if (end)
			*end = '\0';
		if (memcmp(at, id, size))
			continue;
		/* Six words come before the optional ones, which end with a dash. */
		for (int words = 0; word; words++) {
			if (words >= 6 && *word == '-')
				return 0;
			if (words >= 6 && !memcmp(word, "shared:", 7))
				return 1;
			word = (word = find(word, ' ')) ? word + 1 : NULL;
		}
	}
	return 1; /* not known: as bad */
}

/*
 * Whether `path`, by which the configuration calls the target, says that the target is in a volume that is
 * shared: the path begins as the volume's, and leads to the target without a link.
 */
static int is_meant_to_be_in_a_peer(const char *path, int target)
{
	for (size_t i = 0; i < peer_count; i++) {
		size_t size = length(peers[i].path);
		long volume, found;
		int is_it = 0;

		if (length(path) <= size + 1 || memcmp(path, peers[i].path, size) || path[size] != '/')
			continue;
		volume = lookup(peers[i].path, O_PATH, RESOLVE_NO_SYMLINKS);
		if (volume < 0)
			continue;
		if (mount_id(volume) == peers[i].mount &&
		    (found = lookup_in(volume, path + size + 1, O_PATH,
				       RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)) >= 0) {
			is_it = is_same_file(found, target) && mount_id(found) == mount_id(target);
			sys(close, found);
		}
		sys(close, volume);
		if (is_it)
			return 1;
	}
	return 0;
}

void refuse_peer(int target, const char *path)
{
	if (peer_count && is_shared(target) && !(path && is_meant_to_be_in_a_peer(path, target)))
		fail("it leads into a volume that is shared, and would be mounted on the host, too", EXDEV);
}
