"""A container's cgroup: one folder in each hierarchy.

Source: the kernel's admin-guide/cgroup-v2.rst, "Core Interface Files"; admin-guide/cgroup-v1/
freezer-subsystem.rst and memory.rst, "OOM Control".
"""

from __future__ import annotations

import errno
import os
import time

from ringlet.container.cgroups.file_access import (
    CgroupError,
    below,
    is_frozen,
    keyed,
    read,
    refused,
    write,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from ringlet.container.spec.types import Resources
    from ringlet.host.outcome import Usage

_SIGKILL = 9
_PATIENCE = 5.0  # seconds, for the kernel to have frozen, ended or removed something
_PAUSE = 0.001  # seconds, the first time; then longer


class Cgroup:
    """A container's cgroup. It is false if there is no cgroup; then all methods do nothing."""

    def __init__(
        self,
        version_1: dict[str, str],
        unified: str | None,
        *,
        parents: list[str],
        may_lack: bool,
        notes: list[str],
    ) -> None:
        self.version_1 = version_1
        """Version 1: each controller's folder."""
        self.unified = unified
        """Version 2: the folder, for CLONE_INTO_CGROUP."""
        self.notes = notes
        """What was left out, for the log: a line each."""
        self.rules_devices = False
        """Whether device rules are set, once it has been made."""
        self._parents = parents
        self._may_lack = may_lack
        self._exact = False  # whether a process has to join version 2 in exactly this folder

    def __bool__(self) -> bool:
        return bool(self.version_1) or self.unified is not None

    @classmethod
    def load(cls, data: dict[str, Any]) -> Cgroup:
        """Makes a cgroup from the result of `to_state`."""
        return cls(
            data["version_1"],
            data["unified"],
            parents=data["parents"],
            may_lack=data["may_lack"],
            notes=[],
        )

    def to_state(self) -> dict[str, Any]:
        """Returns the cgroup as JSON, for `load`."""
        return {
            "version_1": self.version_1,
            "unified": self.unified,
            "parents": self._parents,
            "may_lack": self._may_lack,
        }

    @property
    def tasks(self) -> list[str]:
        """The `tasks` files of version 1: a single-threaded process joins by writing 0 to each."""
        return [f"{folder}/tasks" for folder in dict.fromkeys(self.version_1.values())]

    @property
    def _folders(self) -> list[str]:
        folders = list(dict.fromkeys(self.version_1.values()))
        return folders if self.unified is None else [self.unified, *folders]

    def unified_of(self, pid: int) -> str | None:
        """Returns the version 2 folder that `pid`, a process of the container, is in.

        A container that has cgroups below its own may have moved all processes there. Then no other
        process can join the container's own cgroup.
        """
        if self.unified is None or self._exact:
            return self.unified
        own = (read(f"/proc/{pid}", "cgroup") or "").rpartition("0::")[2].rstrip("\n")
        # Names may repeat: the longest start of `own` that is the end of our path is our folder.
        start = len(own)
        while start > 0:
            if self.unified.endswith(own[:start]):
                return self.unified + own[start:]
            start = own.rfind("/", 0, start)
        return self.unified

    def below(self, wanted: Sequence[str]) -> Cgroup:
        """Returns the cgroup below this one that is `wanted`, only for a process to join.

        Each is PATH, or CONTROLLER[,CONTROLLER...]:PATH for some hierarchies of version 1. A path
        begins at this cgroup, even with a slash, and can't lead out of it. Raises `CgroupError`.

        Source: runc-exec(8), --cgroup.
        """
        paths: dict[str, str] = {}  # for each folder of this cgroup
        exact = False
        for one in wanted:
            controllers, colon, path = one.partition(":")
            if colon:
                folders = [self._folder_of(name, one) for name in controllers.split(",")]
            elif len(wanted) > 1:
                raise CgroupError(
                    f"--cgroup {one} is for all hierarchies, and there is another",
                    "give one path alone, or CONTROLLER:PATH for each",
                )
            else:
                folders, path, exact = self._folders, one, True
            names = [name for name in path.split("/") if name not in ("", ".")]
            if ".." in names:
                raise CgroupError(
                    f"--cgroup {one} leads out of the container's cgroup", "name one below it"
                )
            for folder in folders:
                place = "/".join((folder, *names))
                if paths.setdefault(folder, place) != place:
                    raise CgroupError(
                        f"--cgroup {one}: another path is given for {folder}",
                        "give one for each hierarchy",
                    )
        for folder, place in paths.items():
            if not os.path.isdir(place):
                raise CgroupError(f"there is no cgroup {place}", "it has to be made before")
            if is_frozen(place) and not is_frozen(folder):
                raise CgroupError(f"the cgroup {place} is frozen", "thaw it first")
        found = Cgroup(
            {name: paths.get(folder, folder) for name, folder in self.version_1.items()},
            None if self.unified is None else paths.get(self.unified, self.unified),
            parents=[],
            may_lack=self._may_lack,
            notes=[],
        )
        found._exact = exact
        return found

    def _folder_of(self, controller: str, wanted: str) -> str:
        folder = self.version_1.get(controller)
        if folder is None:
            raise CgroupError(
                f"--cgroup {wanted}: the container has no cgroup of version 1 for {controller!r}",
                f"it has them for: {', '.join(self.version_1) or 'none'}; version 2 takes a PATH",
            )
        return folder

    def set(self, resources: Resources) -> None:
        """Sets the limits that `resources` has; the other limits stay. Raises `CgroupError`."""
        from ringlet.container.cgroups.limits import set_devices, set_limits

        self.notes += set_limits(resources, self.version_1, self.unified, {})
        if self and "devices" in resources:
            note = set_devices(resources, self.version_1, self.unified, may_lack=self._may_lack)
            self.notes += [note] if note else []

    def delegate(self, uid: int) -> None:
        """Gives the version 2 cgroup to `uid`, for a container that has it mounted writable."""
        if self.unified is None:
            return
        names = read("/sys/kernel/cgroup", "delegate")
        if names is None:
            names = "cgroup.procs cgroup.subtree_control cgroup.threads"
        for name in ("", *names.split()):
            try:
                os.chown(f"{self.unified}/{name}", uid, -1)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise refused(f"{self.unified}/{name} can't be given to {uid}", error) from error

    def freeze(self) -> None:
        """Stops every process; returns when all are stopped. Raises `CgroupError`."""
        self._set_frozen(True)

    def thaw(self) -> None:
        """Lets the processes go on. Raises `CgroupError`."""
        self._set_frozen(False)

    def _set_frozen(self, frozen: bool) -> None:
        file = self._freezer()
        if file is None:
            raise CgroupError(
                "the container can't be frozen: it has no freezer cgroup",
                "mount -t cgroup -o freezer none /sys/fs/cgroup/freezer, or cgroup version 2",
            )
        folder, name = file
        for _ in _until_patience_ends():
            if name == "cgroup.freeze":
                write(folder, name, str(int(frozen)))
                now = keyed(read(folder, "cgroup.events")).get("frozen")
                if now == int(frozen):
                    return
            else:  # a repeated write makes the kernel look again at processes that were busy
                write(folder, name, "FROZEN" if frozen else "THAWED")
                if (read(folder, name) or "").strip() == ("FROZEN" if frozen else "THAWED"):
                    return
        if frozen:
            write(folder, name, "0" if name == "cgroup.freeze" else "THAWED")
        raise CgroupError(
            f"{folder} can't be {'frozen' if frozen else 'thawed'} within {_PATIENCE:.0f} seconds",
            "a process may be waiting for a disk: try again"
            if frozen
            else "a cgroup above it may be frozen",
        )

    def _freezer(self) -> tuple[str, str] | None:
        if self.unified is not None and os.path.exists(f"{self.unified}/cgroup.freeze"):
            return self.unified, "cgroup.freeze"
        folder = self.version_1.get("freezer")
        return None if folder is None else (folder, "freezer.state")

    @property
    def frozen(self) -> bool:
        """Whether the cgroup is frozen, or is being frozen."""
        file = self._freezer()
        return file is not None and (read(*file) or "").strip() in ("1", "FROZEN", "FREEZING")

    def processes(self) -> list[int]:
        """Returns the process ids, sorted, also of cgroups below. Empty if the cgroup is gone."""
        found: set[int] = set()
        # One folder of version 1 is enough; but a process may be in one version and not the other.
        for folder in self._folders[:2] if self.unified is not None else self._folders[:1]:
            found.update(map(int, (read(folder, "cgroup.procs") or "").split()))
            for at, name in below(folder):
                found.update(map(int, (read(name, "cgroup.procs", at=at) or "").split()))
        found.discard(0)  # a process outside of this PID namespace
        return sorted(found)

    def kill(self) -> None:
        """Kills every process, also of a frozen cgroup; they may be zombies for a while.

        Raises `CgroupError` if some processes don't end.
        """
        if self.unified is not None:
            try:
                write(self.unified, "cgroup.kill", "1")
            except CgroupError as error:
                if error.errno not in (errno.ENOENT, errno.ENODEV):  # gone, or Linux before 5.14
                    raise
        for _ in _until_patience_ends():
            if not self._signal_all():
                return
        raise CgroupError(
            f"processes of {self._folders[0]} don't end: {self.processes()}",
            "they may be waiting for a disk: try again",
        )

    def _signal_all(self) -> bool:
        """Kills every process; returns whether there was any."""
        freezer = self.version_1.get("freezer")
        if freezer is None or not self.processes():
            return self.signal(_SIGKILL)
        # A frozen process can't make another one; it ends once it is thawed.
        write(freezer, "freezer.state", "FROZEN")
        try:
            _thaw_below(freezer)  # the container may have frozen cgroups itself
            return self.signal(_SIGKILL)
        finally:
            write(freezer, "freezer.state", "THAWED")

    def signal(self, number: int) -> bool:
        """Sends a signal to each process; returns whether there was any."""
        descriptors = {}
        try:
            for pid in self.processes():
                try:
                    descriptors[pid] = os.pidfd_open(pid)
                except ProcessLookupError:
                    continue
            if not descriptors:
                return False
            from _signal import pidfd_send_signal  # type: ignore[import-not-found]

            # By now a process id may belong to another process, but not an id that is still listed.
            listed = self.processes()
            for pid, fd in descriptors.items():
                try:
                    if pid in listed:
                        pidfd_send_signal(fd, number)
                except ProcessLookupError:
                    continue
            return True
        finally:
            for fd in descriptors.values():
                os.close(fd)

    def stats(self) -> dict[str, Any]:
        """Returns the counters in the form of "data" of `runc events --stats`."""
        from ringlet.container.cgroups.stats import stats

        return stats(self.version_1, self.unified)

    def usage(self) -> Usage:
        """Returns how much the processes have used."""
        from ringlet.container.cgroups.usage import usage

        return usage(self.version_1, self.unified)

    def oom_kills(self) -> int:
        """Returns how many processes the kernel has killed because the memory limit was reached."""
        folder = self.version_1.get("memory")
        if folder is not None:
            return keyed(read(folder, "memory.oom_control")).get("oom_kill", 0)
        if self.unified is not None:
            return keyed(read(self.unified, "memory.events")).get("oom_kill", 0)
        return 0

    def oom_fd(self) -> int | None:
        """Returns a non-blocking descriptor that is readable when memory may have run out.

        The descriptor is readable until it is read, and the caller closes it. `oom_kills` tells
        whether memory has run out. Returns None without a memory controller.
        """
        folder = self.version_1.get("memory")
        if folder is None:
            if self.unified is None:
                return None
            from ringlet.container.cgroups.inotify import watch

            try:
                return watch(f"{self.unified}/memory.events")
            except FileNotFoundError:
                return None
            except OSError as error:
                raise refused(f"{self.unified}/memory.events can't be watched", error) from error
        event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            control = os.open(f"{folder}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            try:
                write(folder, "cgroup.event_control", f"{event} {control}")
            finally:
                os.close(control)
        except BaseException as error:
            os.close(event)
            if isinstance(error, OSError):
                raise refused(f"{folder}/memory.oom_control can't be watched", error) from error
            raise
        return event

    def delete(self) -> None:
        """Removes the cgroup and those below; waits a while for the last process to disappear.

        A cgroup that is gone already is no error. Raises `CgroupError` if processes stay.
        """
        left = self._folders
        for _ in _until_patience_ends():
            left = [folder for folder in left if not _removed(folder)]
            if not left:
                break
        else:
            raise CgroupError(
                f"the cgroup {left[0]} has processes: {self.processes()}", "kill them first"
            )
        for parent in reversed(self._parents):
            try:
                os.rmdir(parent)
            except OSError:  # another container's cgroup is in this parent
                continue


def _removed(folder: str) -> bool:
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise refused(f"the cgroup {folder} can't be removed", error) from error
        for at, name in below(folder):
            try:
                os.rmdir(name, dir_fd=at)
            except OSError:  # the next round shows whether it matters
                continue
        try:
            os.rmdir(folder)
        except OSError:
            return False
    return True


def _thaw_below(freezer: str) -> None:
    for at, name in below(freezer):
        try:
            fd = os.open(f"{name}/freezer.state", os.O_WRONLY | os.O_CLOEXEC, dir_fd=at)
        except FileNotFoundError:  # the cgroup is gone by now
            continue
        try:
            os.write(fd, b"THAWED")
        finally:
            os.close(fd)


def _until_patience_ends() -> Iterator[None]:
    end = time.monotonic() + _PATIENCE
    pause = _PAUSE
    while True:
        yield
        if time.monotonic() > end:
            return
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
