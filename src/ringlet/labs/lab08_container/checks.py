"""The checks of lab 8: a command runs in the student's container, and is looked at from outside.

The command waits for a line of input. Meanwhile /proc of the host tells in which namespaces it is,
what its root is, what it has mounted, and which capabilities it has.

Source: namespaces(7), pid_namespaces(7), pivot_root(2), capabilities(7), proc_pid_status(5).
"""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager

from ringlet.host.printable import printable
from ringlet.labs import process
from ringlet.labs.check import NO_KVM, Check, Failed
from ringlet.labs.program import PYTHON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringlet.labs.program import Program
    from ringlet.labs.work import Work

HOSTNAME = "box"
NEVER_RAN = "run box.py with /bin/sh as in the text: it shows the line where your program ends"


@contextmanager
def _boxed(work: Work) -> Iterator[tuple[Program, int]]:
    """Yields the student's program, and the process on the host of the command that it runs."""
    command = ["/bin/sh", "-c", "read line", secrets.token_hex(8)]
    with work.program(PYTHON, "box.py", *command, nesting=True) as program:
        found: list[int] = []

        def is_running() -> bool:
            found[:] = [
                pid
                for pid in process.descendants(program.pid)
                if process.command_line(pid) == command
            ]
            return bool(found)

        if not program.wait_until(lambda: is_running() or program.has_ended) or not found:
            program.end_input()
            raise Failed(f"the command never ran: {program.finish().complaint}", NEVER_RAN)
        try:
            yield program, found[0]
        except (OSError, LookupError):
            raise Failed("the command ended, or changed, while the grader looked at it") from None


def _require_own(program: Program, pid: int, *kinds: str) -> None:
    has = process.namespaces(pid)
    shared = [kind for kind in kinds if has.get(kind) == program.namespaces[kind]]
    if shared:
        raise Failed(f"the command shares these namespaces with the host: {', '.join(shared)}")


def has_hostname(work: Work) -> str:
    """The command has a UTS namespace, whose host name is HOSTNAME."""
    with _boxed(work) as (program, pid):
        _require_own(program, pid, "uts")
        name, _ = process.look_inside(pid)
        if name != HOSTNAME:
            raise Failed(f"the host name in the container is {printable(name)!r}")
    return f"a UTS namespace with the host name {HOSTNAME}"


def is_process_1(work: Work) -> str:
    """The command is process 1 of a PID namespace."""
    with _boxed(work) as (program, pid):
        _require_own(program, pid, "pid")
        numbers = process.status(pid).get("NSpid", "").split()
        if numbers[-1:] != ["1"]:
            raise Failed(f"in its PID namespace, the command is process {numbers[-1]}")
    return "a PID namespace, in which the command is process 1"


def has_no_network(work: Work) -> str:
    """The command has IPC and network namespaces."""
    with _boxed(work) as (program, pid):
        _require_own(program, pid, "ipc", "net")
    return "an IPC namespace and a network namespace"


def has_root(work: Work) -> str:
    """The command's root is another file system than the host's."""
    with _boxed(work) as (program, pid):
        _require_own(program, pid, "mnt")
        if process.device_of_root(pid) == program.root_device:
            raise Failed("the root of the command is the host's file system")
    return "a mount namespace, with another root"


def has_left_the_old_root(work: Work) -> str:
    """The host's root file system is mounted nowhere in the container."""
    with _boxed(work) as (program, pid):
        _require_own(program, pid, "mnt")
        for mount in process.mounts(pid):
            if mount.device == program.root_device:
                raise Failed(f"the host's root is still there, at {printable(mount.at)}")
        _, device = process.look_inside(pid)
        if device == program.root_device:
            raise Failed("the root of the mount namespace is still the host's: this is a chroot")
    return "no mount of the host's root"


def has_proc(work: Work) -> str:
    """/proc in the container is that of the container's PID namespace."""
    with _boxed(work) as (program, pid):
        _require_own(program, pid, "mnt", "pid")
        at = [
            mount.device
            for mount in process.mounts(pid)
            if (mount.at, mount.kind) == ("/proc", "proc")
        ]
        if not at:
            raise Failed("the command has no proc file system at /proc")
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        folder = os.open(f"/proc/{pid}/root/proc", flags)
        try:
            device = os.fstat(folder).st_dev
            numbers = {name for name in os.listdir(folder) if name.isdigit()}
        finally:
            os.close(folder)
        if process.device_name(device) != at[-1]:
            raise Failed("what is at /proc isn't the proc file system")
        own = {
            process.status(one).get("NSpid", "").split()[-1]
            for one in process.descendants(program.pid)
            if process.namespaces(one).get("pid") == process.namespaces(pid)["pid"]
        }
        if numbers != own:
            raise Failed(f"/proc shows {len(numbers)} processes, and the container has {len(own)}")
    return "a /proc that shows the processes of the container"


def has_no_capability(work: Work) -> str:
    """The command has no capability, and can get none."""
    with _boxed(work) as (_, pid):
        status = process.status(pid)
        held = [name for name in ("CapEff", "CapPrm", "CapBnd") if int(status[name], 16)]
        if held:
            raise Failed(", ".join(f"{name} is {status[name]}" for name in held))
    return "CapEff, CapPrm and CapBnd are 0"


def has_read_only_root(work: Work) -> str:
    """The command can't write to its root."""
    with _boxed(work) as (program, pid):
        _require_own(program, pid, "mnt")
        roots = [mount for mount in process.mounts(pid) if mount.at == "/"]
        if roots[-1].device == program.root_device:
            raise Failed("the root of the command is the host's file system")
        if "ro" not in roots[-1].options:
            raise Failed(f"the root is mounted with {printable(','.join(roots[-1].options))}")
    return "the root is mounted read-only"


CHECKS = (
    Check(
        "a host name of its own",
        1,
        15,
        "a UTS namespace whose host name is box",
        "unshare(CLONE_NEWUTS) first, then set_hostname: before, it would be the host's name",
        has_hostname,
        NO_KVM,
    ),
    Check(
        "the command is process 1",
        1,
        20,
        "a PID namespace in which the command is process 1",
        "unshare(CLONE_NEWPID) is for children: unshare before the fork, exec in the child",
        is_process_1,
        NO_KVM,
    ),
    Check(
        "no network and no IPC of the host",
        1,
        10,
        "an IPC namespace and a network namespace",
        "CLONE_NEWIPC and CLONE_NEWNET",
        has_no_network,
        NO_KVM,
    ),
    Check(
        "a root of its own",
        2,
        15,
        "a mount namespace, and a root that is another file system than the host's",
        "CLONE_NEWNS; make all mounts private; mount a tmpfs, fill it, and pivot_root into it",
        has_root,
        NO_KVM,
    ),
    Check(
        "nothing is left of the old root",
        2,
        10,
        "no mount of the host's root in the container",
        "pivot_root puts the old root somewhere: chdir to /, then unmount it with MNT_DETACH",
        has_left_the_old_root,
        NO_KVM,
    ),
    Check(
        "/proc shows the container's processes alone",
        2,
        10,
        "a proc file system at /proc that shows the processes of the container's PID namespace",
        "mount proc in the child, which is in the new PID namespace, before pivot_root",
        has_proc,
        NO_KVM,
    ),
    Check(
        "no capabilities",
        3,
        10,
        "CapEff, CapPrm and CapBnd of the command are 0",
        "PR_CAPBSET_DROP for each number from 0 to cap_last_cap; exec then takes the rest away",
        has_no_capability,
        NO_KVM,
    ),
    Check(
        "a root that can't be written",
        3,
        10,
        "the command's root, another file system than the host's, is mounted read-only",
        "after all is in place: mount(None, '/', None, MS_REMOUNT | MS_BIND | MS_RDONLY)",
        has_read_only_root,
        NO_KVM,
    ),
)
