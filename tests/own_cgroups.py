"""Cgroups of the tests' own: nothing that a test does to cgroups reaches the host's others.

Source: cgroup_namespaces(7); cgroups(7), "Cgroups version 1".
"""

import ctypes
import os
import subprocess
from pathlib import Path

_CLONE_NEWCGROUP = 0x2000000
_TOP = "/sys/fs/cgroup"
# It is nobody's child, and stays in the host's cgroups, with mounts of its own that show them; it
# removes the tests' when they have ended, however that comes.
_REMOVES = """
read end
for try in $(seq 300); do
    left=
    for folder in "$@"; do
        find "$folder" -depth -type d -exec rmdir {} + 2> /dev/null
        [ -d "$folder" ] && left=yes
    done
    [ "$left" ] || exit
    sleep 0.1
done
"""

_end = -1  # of a pipe, which the tests' end closes


def enter() -> None:
    """Moves this process into a cgroup of its own in each hierarchy, and mounts those as the top.

    Only where cgroups are mounted as version 1: with version 2 alone, limits can't be set below a
    cgroup that has processes. The mount namespace has to be this process's own.
    """
    hierarchies = _hierarchies()
    if not hierarchies:
        return
    # Folders of earlier tests may be there for a while, and a process id comes again.
    tests = f"ringlet-tests-{os.urandom(6).hex()}"
    folders = {name: f"{own}/{tests}" for name, own in hierarchies.items()}
    for folder in folders.values():
        os.mkdir(folder)
        for name in ("cpuset.cpus", "cpuset.mems"):
            if os.path.exists(f"{folder}/{name}"):
                Path(folder, name).write_text(Path(folder).parent.joinpath(name).read_text())
    _remove_at_the_end(list(folders.values()))
    for folder in folders.values():
        Path(folder, "cgroup.procs").write_text(str(os.getpid()))
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWCGROUP):
        raise OSError(ctypes.get_errno(), "unshare")
    script = [f"umount -R {_TOP}", f"mount -t tmpfs -o mode=755 tmpfs {_TOP}"]
    for name in hierarchies:
        place = f"{_TOP}/{name.removeprefix('name=') or 'unified'}"
        kind = f"cgroup -o {name}" if name else "cgroup2"
        script += [f"mkdir {place}", f"mount -t {kind} cgroup {place}"]
    subprocess.run(["sh", "-ec", "\n".join(script)], check=True)
    if "" in hierarchies:  # with version 2, one that has processes can't limit those below it
        os.mkdir(f"{_TOP}/unified/tests")
        Path(_TOP, "unified/tests/cgroup.procs").write_text(str(os.getpid()))


def _hierarchies() -> dict[str, str]:
    """The folder of this process's cgroup in each, by its controllers.

    None for version 2 alone, and none where this process may make no cgroups.
    """
    found = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, name, own = line.split(":", 2)
        place = f"{_TOP}/{name.removeprefix('name=') or 'unified'}"
        found[name] = f"{place}{own}".rstrip("/")
        if not os.path.ismount(place) or not os.access(found[name], os.W_OK):
            return {}
    return found


def _remove_at_the_end(folders: list[str]) -> None:
    global _end
    reader, _end = os.pipe()
    words = ["unshare", "--mount", "setsid", "--fork", "sh", "-c", _REMOVES, "sh", *folders]
    subprocess.run(words, stdin=reader, stdout=subprocess.DEVNULL, check=True)
    os.close(reader)
