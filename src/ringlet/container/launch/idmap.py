"""The ID maps of user namespaces: reads ours, and writes those of a new one from outside.

Source: user_namespaces(7), "User and group ID mappings"; newuidmap(1); proc_pid_stat(5).
"""

from __future__ import annotations

import os

from ringlet.container.launch.helper import LaunchError
from ringlet.host.process_stat import read_stat

_PF_EXITING = 4  # <linux/sched.h>: in the flags of proc_pid_stat(5)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.container.spec.types import Config, IdMapping


def is_root_of_host() -> bool:
    """Returns whether this process is root of the host, not only of a user namespace (podman)."""
    if os.geteuid() != 0:
        return False
    with open("/proc/self/uid_map") as file:
        return file.read().split() == ["0", "0", str((1 << 32) - 1)]


def map_ids(pid: int, config: Config) -> None:
    """Maps the ids of `pid`'s user namespace, if the configuration has a new one.

    Raises LaunchError.
    """
    try:
        _map_ids(pid, config)
    except LaunchError:
        if not _is_ending(pid):  # if it is ending, that is the error to report
            raise


def _is_ending(pid: int) -> bool:
    return bool(int(read_stat(pid)[6]) & _PF_EXITING)


def _map_ids(pid: int, config: Config) -> None:
    linux = config.get("linux", {})
    if not any(one["type"] == "user" and "path" not in one for one in linux.get("namespaces", ())):
        return
    users, groups = linux.get("uidMappings", []), linux.get("gidMappings", [])
    if os.geteuid() == 0:
        _write(pid, "uid_map", users)
        _write(pid, "gid_map", groups)
        return
    if _is_own(users, os.geteuid()) and _is_own(groups, os.getegid()):
        # Without the right to change groups, no group that denies access may be dropped.
        _write_text(pid, "setgroups", "deny")
        _write(pid, "uid_map", users)
        _write(pid, "gid_map", groups)
        return
    _run("newuidmap", pid, users)
    _run("newgidmap", pid, groups)


def _is_own(mappings: list[IdMapping], own: int) -> bool:
    return len(mappings) == 1 and (mappings[0]["hostID"], mappings[0]["size"]) == (own, 1)


def cgroup_owner(config: Config) -> int | None:
    """Returns the host ID of the container's root, as owner of its cgroup ("Cgroup ownership").

    Returns None if the container may not change its cgroup: it lacks the namespaces for that, or a
    writable mount of the cgroup. The rule is in config-linux.md; it holds for version 2.
    """
    linux = config.get("linux", {})
    new = {one["type"] for one in linux.get("namespaces", ()) if "path" not in one}
    writable = any(
        mount.get("type") in ("cgroup", "cgroup2")
        and not {"ro", "rro"} & set(mount.get("options", ()))
        for mount in config.get("mounts", ())
    )
    if not (writable and new >= {"cgroup", "user"}):
        return None
    roots = [one["hostID"] for one in linux.get("uidMappings", ()) if one["containerID"] == 0]
    return roots[0] if roots else None


def as_text(mappings: list[IdMapping]) -> str:
    """Returns mappings as text, in the form of /proc/PID/uid_map."""
    return "".join(f"{one['containerID']} {one['hostID']} {one['size']}\n" for one in mappings)


def _write(pid: int, name: str, mappings: list[IdMapping]) -> None:
    _write_text(pid, name, as_text(mappings))


def _write_text(pid: int, name: str, text: str) -> None:
    try:
        fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise LaunchError(
            f"user namespace: {name}: {error.strerror}",
            "may this user map these ids? See linux.uidMappings and linux.gidMappings",
            step=name,
        ) from None


def _run(program: str, pid: int, mappings: list[IdMapping]) -> None:
    from subprocess import run

    words = [
        str(number)
        for one in mappings
        for number in (one["containerID"], one["hostID"], one["size"])
    ]
    try:
        done = run([program, str(pid), *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise LaunchError(
            f"user namespace: there is no {program}", "apt install uidmap", step=program
        ) from None
    if done.returncode:
        raise LaunchError(
            f"user namespace: {program}: {done.stderr.strip()}",
            "are the ids yours in /etc/subuid and /etc/subgid?",
            step=program,
        )
