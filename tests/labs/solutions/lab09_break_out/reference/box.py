"""The reference container: the open one, closed.

    unshare --user --map-root-user python3 box.py PROGRAM [ARGUMENT]...

PROGRAM is a Python program. It runs in the container as /program.py.
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


def fill_root(program):
    """Puts into the folder where we are what a Python program needs: the program, and Python."""
    with open(program, "rb") as source, open("program.py", "wb") as copy:
        copy.write(source.read())
    folders = ["/usr"]
    if not sys.base_prefix.startswith("/usr"):
        folders.append(sys.base_prefix)
    for folder in folders:
        os.makedirs(folder[1:])
        mount(folder, folder[1:], None, MS_BIND | MS_REC)
    for name in ("bin", "lib", "lib64"):
        os.symlink(f"usr/{name}", name)


def main(program, *arguments):
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    python = os.path.join(sys.base_prefix, "bin", f"python{version}")
    program = os.path.abspath(program)

    unshare(CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID)
    pid = os.fork()
    if pid > 0:
        _, status = os.waitpid(pid, 0)
        sys.exit(os.waitstatus_to_exitcode(status))

    mount(None, "/", None, MS_REC | MS_PRIVATE)
    os.makedirs("root", exist_ok=True)
    mount("tmpfs", "root", "tmpfs", MS_NOSUID | MS_NODEV)
    os.chdir("root")
    fill_root(program)

    os.mkdir("proc")
    mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)

    os.mkdir("old")
    pivot_root(".", "old")
    os.chdir("/")
    unmount("/old", MNT_DETACH)
    os.rmdir("/old")

    with open("/proc/sys/kernel/cap_last_cap") as file:
        last = int(file.read())
    for capability in range(last + 1):
        prctl(PR_CAPBSET_DROP, capability)

    os.execv(python, [python, "/program.py", *arguments])


main(*sys.argv[1:])
