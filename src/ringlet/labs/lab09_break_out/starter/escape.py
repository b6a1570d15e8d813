"""My way out of a container. It prints the host's secret, and nothing else.

    unshare --user --map-root-user python3 box.py escape.py "$PWD/secret"

The argument is the path of the secret on the host. The grader has four containers. Each is open in
one way, so try one way after the other.
"""

import ctypes
import os
import sys

MNT_DETACH = 2

libc = ctypes.CDLL(None, use_errno=True)


def unmount(target):
    """Unmounts `target`. Raises OSError if that fails."""
    if libc.umount2(target.encode(), MNT_DETACH) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def by_descriptor(path):
    """Step 1.1: the runtime forgot to close a descriptor. Returns the content of the secret."""
    raise OSError("not written yet")


def by_process(path):
    """Step 1.2: a process of the host can be seen."""
    raise OSError("not written yet")


def by_mount(path):
    """Step 1.3: the host's root is still mounted, below something else."""
    raise OSError("not written yet")


def by_chroot(path):
    """Step 1.4: the root is a chroot."""
    raise OSError("not written yet")


def main(path):
    for way in (by_descriptor, by_process, by_mount, by_chroot):
        try:
            secret = way(path)
        except OSError as error:
            print(f"{way.__name__}: {error}", file=sys.stderr)
        else:
            print(secret.strip())
            return
    sys.exit(1)


main(sys.argv[1])
