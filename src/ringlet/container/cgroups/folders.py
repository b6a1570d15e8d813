"""Makes the folders of a container's cgroup in each hierarchy, and makes them ready for use.

Source: the kernel's admin-guide/cgroup-v2.rst, "Controlling Controllers" and "Delegation";
admin-guide/cgroup-v1/cpusets.rst.
"""

from __future__ import annotations

import os

from ringlet.container.cgroups.file_access import CgroupError, below, is_frozen, read, write

_TRIES = 10  # another container that ends may remove the parent that was just made


class Hierarchy:
    """A hierarchy: its mount point, and the folder of this process's own cgroup in it.

    `controllers` are those of version 1, and may include a name such as `name=systemd`.
    """

    __slots__ = ("_top", "controllers", "mount", "own", "version")

    def __init__(self, version: int, controllers: tuple[str, ...], mount: str, own: str) -> None:
        self.version = version
        self.controllers = controllers
        self.mount = mount
        self.own = own
        self._top: str | None = None  # the uppermost that this user may write, if found

    def all_controllers(self) -> list[str]:
        """Returns the controllers of the hierarchy, also of version 2."""
        if self.version == 1:
            return list(self.controllers)
        return ["unified", *(read(self.mount, "cgroup.controllers") or "").split()]

    def place(self, path: str | None, id: str) -> str:
        """Returns the folder for a container. `path` is as in `Cgroups.create`, and checked."""
        if path is None:
            return f"{self._base()}/ringlet-{id}"
        if path.startswith("/"):
            base = self.mount
        else:
            base = self.own if self.version == 1 else self._parent()
        return "/".join((base, *(name for name in path.split("/") if name not in ("", "."))))

    def _base(self) -> str:
        if self._top is not None:
            return self._top
        # With version 2, our own cgroup can't have limits below it: it has a process, this one.
        nearest = [self._parent(), self.own] if self.version == 2 else [self.own]
        for folder in [self.mount, *nearest]:
            if os.access(folder, os.W_OK) and os.access(f"{folder}/cgroup.procs", os.W_OK):
                self._top = folder
                return folder
        return nearest[0]

    def _parent(self) -> str:
        return self.own if self.own == self.mount else os.path.dirname(self.own)


class Folders:
    """The folders that have been made for one container so far."""

    def __init__(self) -> None:
        self.version_1: dict[str, str] = {}
        self.unified: str | None = None
        self.parents: list[str] = []
        self._made: list[str] = []

    def make(self, hierarchy: Hierarchy, folder: str, lacking: dict[str, str]) -> None:
        """Makes the folder, and notes in `lacking` why a controller can't be used in it.

        Raises `OSError`, and `CgroupError` if the folder is in use.
        """
        self._make(folder)
        # The container's process would stop when it joins, and this process would wait for ever.
        if (hierarchy.version == 2 or "freezer" in hierarchy.controllers) and is_frozen(folder):
            raise CgroupError(
                f"the cgroup {folder} is frozen, or one above it", "thaw it, or name another"
            )
        if hierarchy.version == 2:
            self.unified = folder
            _enable(hierarchy.mount, folder, lacking)
        else:
            for controller in hierarchy.controllers:
                self.version_1[controller] = folder
            if "cpuset" in hierarchy.controllers:
                _fill(hierarchy.mount, folder)

    def _make(self, folder: str) -> None:
        for last in reversed(range(_TRIES)):
            try:
                os.mkdir(folder)
            except FileExistsError:
                _check_unused(folder)
                return
            except FileNotFoundError:
                if not last:
                    raise
                self._make_parents(os.path.dirname(folder))
                continue
            self._made.append(folder)
            return

    def _make_parents(self, folder: str) -> None:
        absent = [folder]
        while absent:
            try:
                os.mkdir(absent[-1])
            except FileExistsError:
                absent.pop()
            except FileNotFoundError:
                absent.append(os.path.dirname(absent[-1]))
            else:
                self.parents.append(absent.pop())

    def remove(self) -> None:
        """Removes all folders that were made."""
        for folder in (*self._made, *reversed(self.parents)):
            try:
                os.rmdir(folder)
            except OSError:  # others use the folder, or it is gone
                continue


def _check_unused(folder: str) -> None:
    """Raises `CgroupError` if an existing cgroup has processes."""
    used = (read(folder, "cgroup.procs") or "").strip() or any(
        (read(name, "cgroup.procs", at=at) or "").strip() for at, name in below(folder)
    )
    if used:
        raise CgroupError(
            f"the cgroup {folder} has processes", "use another linux.cgroupsPath, or end them"
        )


def _fill(mount: str, folder: str) -> None:
    """Copies the parent's CPUs and memory to a version 1 cpuset, which starts without any."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        empty = []
        while True:
            value = (read(folder, name) or "").strip()
            if value or folder == mount:
                break
            empty.append(folder)
            folder = os.path.dirname(folder)
        for each in reversed(empty):
            write(each, name, value)
            folder = each


def _enable(mount: str, folder: str, lacking: dict[str, str]) -> None:
    """Enables all controllers of the version 2 mount in the folder, as far as possible."""
    available = (read(mount, "cgroup.controllers") or "").split()
    if (read(folder, "cgroup.controllers") or "").split() == available:
        return
    level = mount
    for name in folder[len(mount) + 1 :].split("/"):
        available = (read(level, "cgroup.controllers") or "").split()
        enabled = (read(level, "cgroup.subtree_control") or "").split()
        missing = [it for it in available if it not in enabled]
        if missing and _is_busy(level):
            for controller in missing:
                lacking.setdefault(controller, f"{level} has processes, so none below has limits")
        elif missing and not _enabled(level, missing, lacking):
            for controller in missing:  # to find which of them can't be enabled
                _enabled(level, [controller], lacking)
        level = f"{level}/{name}"


def _is_busy(level: str) -> bool:
    """Returns whether a cgroup has processes and isn't the root, which may have processes.

    Some controllers could be enabled even so, but that makes the cgroups below it threaded.
    """
    return (
        read(level, "cgroup.type") is not None and (read(level, "cgroup.procs") or "").strip() != ""
    )


def _enabled(level: str, controllers: list[str], lacking: dict[str, str]) -> bool:
    try:
        write(level, "cgroup.subtree_control", " ".join(f"+{it}" for it in controllers))
    except CgroupError as error:
        if len(controllers) == 1:
            lacking.setdefault(controllers[0], error.message)
        return False
    return True
