"""What a container of the fuzz test did to its host, and what its command saw of it.

It may change, of the host: mount points that are made in its root and in what is bound to be
written to (empty files and folders, as the specification has them made), and its root's own /dev.
All else is wrong.

Source: OCI Runtime Specification 1.2, config.md, "Mounts"; proc(5), /proc/pid/mountinfo.
"""

import os
import re
import stat
from collections.abc import Iterator
from typing import Any

from ringlet.container.spec.names import CAPABILITIES

from .fuzz_config import Case
from .fuzz_host import BUNDLE, Entry, Host, Seen

_ROOTFS = "fuzz/bundle/rootfs"
_OWN = (_ROOTFS, "fuzz/state", "fuzz/tmp")  # folders in which something is made and removed
_KINDS = {"proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "devtmpfs"}


def judge_files(case: Case, before: Seen, after: Seen) -> tuple[list[str], list[str]]:
    """What is wrong, and the mount points that were made."""
    found, made = [], []
    writable = list(_writable(case))
    for path, entry in after.files.items():
        old = before.files.get(path)
        if old is None:
            made.append(path)
            if not _may_be_made(path, entry, writable):
                found.append(f"made {path}: {_shown(entry)}")
        elif old != entry and not _may_change(path, old, entry, writable):
            found.append(f"changed {path}: {_shown(old)} -> {_shown(entry)}")
    found += [f"removed {path}" for path in before.files if path not in after.files]
    return found, made


def judge_others(before: Seen, after: Seen) -> Iterator[str]:
    """Mounts, processes, cgroups, settings."""
    for name in sorted(before.others.keys() | after.others.keys()):
        was, now = before.others.get(name), after.others.get(name)
        if was == now:
            continue
        if isinstance(was, list) and isinstance(now, list):
            yield f"{name}: gone {[it for it in was if it not in now]}"
            yield f"{name}: new {[it for it in now if it not in was]}"
        else:
            yield f"{name}: was {was!r}, is {now!r}"


def judge_words(said: str, printed: str) -> Iterator[str]:
    """What the runtime said, and whose program it ran."""
    if "Traceback" in said:
        yield f"a traceback: {said[-1500:]}"
    for text in (said, printed):
        if "a program of the host" in text:
            yield "a program of the host ran in the container"
    if hook := re.search(r".*hook.*descriptor.*", said):
        yield f"a hook has a descriptor: {hook[0]}"


def judge_inside(host: Host, case: Case, printed: str) -> Iterator[str]:
    """What the container's command has, and can reach."""
    namespaces = {
        one["type"]: one.get("path") for one in case.config.get("linux", {}).get("namespaces", ())
    }
    descriptors = set()
    for line in printed.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "descriptor":
            descriptors.add(int(rest.split()[0]))
        elif kind == "canary" and ("pid" in namespaces or not re.match("/proc/[0-9]", rest)):
            yield f"it reaches the host by {rest}"
        elif kind in ("unmasked", "writable"):
            yield f"{kind}: {rest}"
        elif kind == "capabilities":
            yield from _judge_rights(case, *map(int, rest.split()))
        elif kind == "mount" and (why := _why_not_mounted(host, case, namespaces, rest.split())):
            yield f"{why}: {line}"
    if descriptors and descriptors != set(range(3 + case.preserved)):
        yield f"its descriptors are {sorted(descriptors)}, {case.preserved} were to be preserved"


def _judge_rights(case: Case, effective: int, permitted: int, no_new_privs: int) -> Iterator[str]:
    process = case.config["process"]
    sets = process.get("capabilities", {})
    named = {name for names in sets.values() for name in names}
    most = sum(1 << CAPABILITIES.index(name) for name in named)
    if (effective | permitted) & ~most:
        yield f"it has the capabilities {effective:#x} {permitted:#x} and not at most {most:#x}"
    if no_new_privs != process.get("noNewPrivileges", False):
        yield f"no_new_privs is {no_new_privs}"


def _why_not_mounted(
    host: Host, case: Case, namespaces: dict[str, Any], fields: list[str]
) -> str | None:
    device = os.makedev(*map(int, fields[2].split(":")))
    root = fields[3].encode().decode("unicode_escape").removesuffix("//deleted").lstrip("/")
    kind = fields[fields.index("-") + 1]
    if kind not in _KINDS:
        return f"a {kind} is mounted in it"
    if device == host.device:
        if root.startswith("dev/") and stat.S_ISCHR(os.stat(f"/{root}").st_mode):
            return None
        known = (_ROOTFS, *(_layer(source) for source in _sources(case)))
        if not any(_is_below(root, one) for one in known):
            return "a folder of the host is mounted that was not asked for"
    elif device == os.stat("/dev/pts").st_dev and "dev" not in map(_layer, _sources(case)):
        return "the host's terminals are mounted in it"
    elif device == os.stat("/proc").st_dev and "pid" in namespaces:
        return "the host's processes are mounted in it"
    return None


def _binds(case: Case) -> Iterator[dict[str, Any]]:
    for mount in case.config.get("mounts", ()):
        options = {*mount.get("options", ())}
        if options & {"bind", "rbind"} and "remount" not in options:
            yield mount


def _sources(case: Case) -> Iterator[str]:
    for mount in _binds(case):
        yield mount["source"]


def _layer(source: str) -> str:
    """Where a mount's source is, as `Host.look` names it."""
    return os.path.realpath(os.path.join(BUNDLE, source)).lstrip("/")


def _writable(case: Case) -> Iterator[str]:
    for mount in _binds(case):
        if not {"ro", "rro"}.intersection(mount["options"]):
            yield _layer(mount["source"])


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _may_be_made(path: str, entry: Entry, writable: list[str]) -> bool:
    if _is_below(path, _ROOTFS):
        return True  # its own: nodes and links, too
    is_empty_file = stat.S_ISREG(entry.mode) and entry.size == 0
    return (is_empty_file or stat.S_ISDIR(entry.mode)) and any(
        _is_below(path, folder) for folder in writable
    )


def _may_change(path: str, old: Entry, new: Entry, writable: list[str]) -> bool:
    if _is_below(path, f"{_ROOTFS}/dev"):
        return True
    only_times = old == new._replace(times=old.times)
    return (
        only_times
        and stat.S_ISDIR(old.mode)
        and any(_is_below(path, folder) for folder in (*_OWN, *writable))
    )


def _shown(entry: Entry) -> str:
    content = entry.content[:40]
    return (
        f"{stat.filemode(entry.mode)} {entry.owner} {entry.device:#x} {entry.times} {content!r}"
        f"{entry.attributes or ''}"
    )
