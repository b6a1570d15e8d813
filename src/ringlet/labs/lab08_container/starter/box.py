"""My container: runs a command in namespaces and a root of its own.

    unshare --user --map-root-user python3 box.py /bin/sh
"""

import ctypes
import os
import sys

# Flags of unshare(2).
CLONE_NEWNS = 0x00020000  # mounts
CLONE_NEWUTS = 0x04000000  # host name
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# Flags of mount(2) and umount2(2).
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x1, 0x2, 0x4, 0x8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x20, 0x1000, 0x4000, 0x40000
MNT_DETACH = 2

SYS_PIVOT_ROOT = 155  # pivot_root(2) has no function in the C library
PR_CAPBSET_DROP = 24  # prctl(2)

libc = ctypes.CDLL(None, use_errno=True)


def check(result, what):
    """Raises OSError if a function of the C library has failed."""
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def unshare(flags):
    check(libc.unshare(flags), "unshare")


def set_hostname(name):
    check(libc.sethostname(name.encode(), len(name)), "sethostname")


def mount(source, target, kind, flags):
    """`source` and `kind` may be None."""
    words = (word and word.encode() for word in (source, target, kind))
    check(libc.mount(*words, ctypes.c_ulong(flags), None), f"mount {target}")


def unmount(target, flags):
    check(libc.umount2(target.encode(), flags), f"umount {target}")


def pivot_root(new, old):
    check(libc.syscall(SYS_PIVOT_ROOT, new.encode(), old.encode()), "pivot_root")


def prctl(option, value):
    check(libc.prctl(option, value, 0, 0, 0), "prctl")


def main(command):
    # Step 1: namespaces, one at a time; a host name.

    pid = os.fork()
    if pid > 0:
        _, status = os.waitpid(pid, 0)
        sys.exit(os.waitstatus_to_exitcode(status))

    # Step 2: a root of its own.

    # Step 3: give up what the command doesn't need.

    os.execv(command[0], command)  # command[0] is a whole path


main(sys.argv[1:])
