"""The records of the containers of one host: a folder for each container, under one root.

A folder holds `state.json` and `config.json`. `state.json` is replaced as a whole at each change,
so a reader needs no lock. `config.json` is as it was when the container was made. A process that
changes a container holds the lock of its folder. What is made for a container is noted before it
is made, so that a ringlet killed at any step leaves nothing that `delete --force` doesn't find.
A status is never taken from the record: the processes show it. A process is known by its id and its
start time.

A part of `state.json` that can't be read (a disk was full, somebody edited the file) is damage.
Damage is reported, and `delete --force` removes the container. A key is missing in the record of a
container that isn't fully made yet. A record that another user could have written is refused: the
hooks that it names would run as this user.

Source: OCI Runtime Specification 1.3, runtime.md ("State"); flock(2).
"""

from __future__ import annotations

import errno
import os
import stat
from _signal import pidfd_send_signal  # type: ignore[import-not-found]
from fcntl import LOCK_EX, LOCK_NB, flock
from time import monotonic, sleep

from ringlet.closing import Closing
from ringlet.container.fast_json import dumps, loads
from ringlet.errors import RingletError
from ringlet.host import interrupt
from ringlet.host.named_file import is_ours_or_roots, keeps_names, read_named
from ringlet.host.process_stat import read_stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_GONE_SECONDS = 10  # how long a killed process may take to disappear
LOCK_SECONDS = 30  # how long an operation waits for another operation on the same container

_MAX_BYTES = 64 << 20  # of `state.json`, which contains hooks and annotations of config.json
_MAX_PID = 1 << 22  # the kernel's PID_MAX_LIMIT

_ID = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


class StateError(RingletError):
    """The error for a container that doesn't exist, exists already, or is in a wrong state."""


class DamageError(StateError):
    """The error for a container whose `state.json` isn't as ringlet wrote it."""

    def __init__(self, id: str, why: str) -> None:
        super().__init__(
            f"the state of container {id} is damaged: state.json: {why}",
            f"remove what can be found of it: delete --force {id}",
        )


class HostProcess:
    """A process of this host: `pid`, and its start time, in clock ticks since boot."""

    __slots__ = ("pid", "start")

    def __init__(self, pid: int, start: int | None = None) -> None:
        self.pid = pid
        self.start = _look(pid)[1] if start is None else start

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HostProcess) and (self.pid, self.start) == (other.pid, other.start)

    def __hash__(self) -> int:
        return hash((self.pid, self.start))

    @property
    def alive(self) -> bool:
        """Returns whether the process has a thread: a zombie, not waited for yet, has none."""
        runs, start = _look(self.pid)
        return start == self.start and runs

    @property
    def is_stopped(self) -> bool:
        """Returns whether a signal or a tracer has stopped the process."""
        try:
            return read_stat(self.pid)[0] in (b"T", b"t")
        except (FileNotFoundError, ProcessLookupError):
            return False


def send(process: HostProcess, number: int) -> None:
    """Signals this process, and no later one of its id. A process that is gone is no error."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        # The descriptor stands for the process with this start time, which is read after the open.
        if _look(process.pid)[1] == process.start:
            pidfd_send_signal(fd, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(fd)


def await_end(process: HostProcess, id: str) -> None:
    """Waits until the killed process is gone. Raises StateError if the process stays."""
    deadline = monotonic() + _GONE_SECONDS
    while process.alive:
        if monotonic() > deadline:
            raise StateError(
                f"process {process.pid} of container {id} doesn't end",
                "it waits for the kernel (a disk, a network file system?); try again later",
            )
        sleep(0.001)


class Record(Closing):
    """The record of a container. `save` writes `data`; a process that changes it holds the lock."""

    def __init__(self, root: str, id: str, *, folder_fd: int = -1) -> None:
        self.id = id
        self.folder = os.path.join(root, id)
        self.data: dict[str, Any] = {}
        self.is_damaged = False
        self._folder_fd = folder_fd  # the lock is held for as long as this descriptor is open

    def save(self) -> None:
        """Writes `data`, as a whole or not at all."""
        path = os.path.join(self.folder, "state.json")
        with open(path + ".new", "w") as file:
            file.write(dumps(self.data))
        os.rename(path + ".new", path)

    def read(self, *, mend: bool = False) -> None:
        """Reads `data` again; `data` is empty if the container's maker ended before the first save.

        Raises DamageError; with `mend`, keeps the parts that are valid instead.
        """
        self.data = {}
        try:
            value = loads(read_named(os.path.join(self.folder, "state.json"), _MAX_BYTES).decode())
            if not isinstance(value, dict):
                raise ValueError("it isn't an object")
        except FileNotFoundError:
            return
        except PermissionError:
            raise
        except (OSError, ValueError) as error:
            self.is_damaged = True
            if mend:
                return
            why = error.strerror if isinstance(error, OSError) else error
            raise DamageError(self.id, str(why)) from None
        wrong = [key for key, holds in _HOLDS.items() if key in value and not holds(value[key])]
        if wrong and not mend:
            raise DamageError(self.id, f"{wrong[0]} isn't what it should be")
        for key in wrong:
            self.is_damaged = True
            del value[key]
        self.data = value

    @property
    def init(self) -> HostProcess | None:
        """Returns the container's first process, dead or alive; None before the process is made."""
        return _process(self.data.get("init"))

    @init.setter
    def init(self, process: HostProcess) -> None:
        self.data["init"] = [process.pid, process.start]

    @property
    def maker(self) -> HostProcess | None:
        """Returns the ringlet process that makes the container; None once the container is made."""
        return _process(self.data.get("maker"))

    def remove(self) -> None:
        """Removes the folder, `state.json` last: an interrupted removal can be done again."""
        names = sorted(os.listdir(self.folder), key="state.json".__eq__)
        for name in names:
            path = os.path.join(self.folder, name)
            try:
                os.unlink(path)
            except IsADirectoryError:  # this folder was never ours
                from shutil import rmtree

                rmtree(path)
        os.rmdir(self.folder)

    def close(self) -> None:
        """Releases the lock."""
        if self._folder_fd >= 0:
            os.close(self._folder_fd)
            self._folder_fd = -1


class Store:
    """The containers under the folder `root`."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)

    def create(self, id: str) -> Record:
        """Returns a new container's record, locked. Raises StateError if the id is taken."""
        check_id(id)
        os.makedirs(self.root, 0o700, exist_ok=True)
        self._check_root()
        try:
            os.mkdir(os.path.join(self.root, id), 0o700)
        except FileExistsError:
            raise StateError(
                f"container {id} exists already", f"choose another id, or: delete --force {id}"
            ) from None
        container = self._lock(id)
        if container.data:  # another process deleted and made it again, between the two steps
            container.close()
            raise StateError(f"container {id} exists already", "choose another id")
        return container

    def open(self, id: str, *, mend: bool = False) -> Record:
        """Returns the record, locked: nobody else changes the container until it is closed."""
        check_id(id)
        return self._lock(id, mend=mend)

    def look(self, id: str) -> Record:
        """Returns the record as it is at this moment, not locked, for reading only."""
        check_id(id)
        container = Record(self.root, id)
        try:
            status = os.stat(container.folder, follow_symlinks=False)
        except FileNotFoundError:
            raise _absent(id) from None
        if not stat.S_ISDIR(status.st_mode):
            raise _absent(id)
        self._check_owner(container.folder, status)
        container.read()
        return container

    def ids(self) -> Iterator[str]:
        """Yields the ids of all containers."""
        try:
            with os.scandir(self.root) as entries:
                names = sorted(entry.name for entry in entries if entry.is_dir())
        except FileNotFoundError:
            return
        for name in names:
            if _is_id(name):
                yield name

    def _check_owner(self, folder: str, status: os.stat_result) -> None:
        """Raises PermissionError if another user may have changed this container's folder."""
        if not is_ours_or_roots(status):
            raise PermissionError(errno.EPERM, "it belongs to another user", folder)
        self._check_root()

    def _check_root(self) -> None:
        from ringlet.container.launch.idmap import is_root_of_host

        if is_root_of_host():  # in a user namespace, a parent's owner may have no ID
            from ringlet.host.cache import check_folder

            check_folder(self.root)
        if not keeps_names(os.stat(self.root)):
            raise PermissionError(errno.EPERM, "other users can write to it", self.root)

    def _lock(self, id: str, *, mend: bool = False) -> Record:
        path = os.path.join(self.root, id)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            raise _absent(id) from None
        try:
            self._check_owner(path, os.fstat(fd))
            deadline = monotonic() + LOCK_SECONDS
            while True:
                try:
                    flock(fd, LOCK_EX | LOCK_NB)
                    break
                except BlockingIOError:
                    if monotonic() > deadline:
                        raise StateError(
                            f"container {id} is held by another ringlet",
                            "wait for it to end (a hook that hangs?), or end it",
                        ) from None
                    with interrupt.waiting:
                        sleep(0.005)
            if not _is_at(path, fd):  # the folder was deleted while this process waited
                raise _absent(id)
            container = Record(self.root, id, folder_fd=fd)
            container.read(mend=mend)
        except BaseException:
            os.close(fd)
            raise
        return container


def default_root() -> str:
    """Returns the folder for root's containers, or for those of this user."""
    from ringlet.container.launch.idmap import is_root_of_host

    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and not is_root_of_host():
        return os.path.join(runtime, "ringlet")
    if os.geteuid() == 0:
        return "/run/ringlet"
    raise StateError("there is no place for the state: XDG_RUNTIME_DIR isn't set", "use --root DIR")


def check_id(id: str) -> None:
    """Raises StateError unless `id` has only letters, digits and `_+-.`, and isn't `.` or `..`."""
    if not _is_id(id):
        raise StateError(
            f"{id!r} is no container id", "use letters, digits, '_', '+', '-' and '.', 1 to 255"
        )


def _is_id(id: str) -> bool:
    return 0 < len(id) < 256 and id not in (".", "..") and _ID.issuperset(id)


def _absent(id: str) -> StateError:
    return StateError(f"container {id} does not exist", "`list` shows those that do; see --root")


def _is_at(path: str, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(fd))
    except FileNotFoundError:
        return False


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_list_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(holds, value))


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_process(value: Any) -> bool:
    return (
        _is_list_of(lambda number: type(number) is int)(value)
        and len(value) == 2
        and 0 < value[0] <= _MAX_PID
    )


def _is_cgroup(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(folders := value.get("version_1"), dict)
        and all(map(_is_folder, folders.values()))
        and ("unified" in value and (value["unified"] is None or _is_folder(value["unified"])))
        and _is_list_of(_is_folder)(value.get("parents"))
        and _is_flag(value.get("may_lack"))
    )


def _is_folder(value: Any) -> bool:
    """Returns whether a folder may be removed in the end: its path must not lead anywhere else."""
    return _is_text(value) and value[:1] == "/" and os.path.normpath(value) == value


def _are_namespaces(value: Any) -> bool:
    numbers = _is_list_of(lambda number: type(number) is int)
    return isinstance(value, dict) and all(map(numbers, value.values()))


def _are_hooks(value: Any) -> bool:
    if value == []:
        return True
    from ringlet.container.spec.checkers import FieldError
    from ringlet.container.spec.process import hooks

    try:
        hooks({"poststop": value})
    except FieldError:
        return False
    return True


# The check of each key's value, where the key is present.
_HOLDS: dict[str, Callable[[Any], bool]] = {
    "bundle": _is_text,
    "rootfs": _is_text,
    "created": _is_text,
    "owner": lambda value: type(value) is int,
    "annotations": lambda value: isinstance(value, dict),
    "maker": _is_process,
    "init": _is_process,
    "cgroup": _is_cgroup,
    "planned": _is_list_of(_is_folder),
    "namespaces": _are_namespaces,
    "own_pids": _is_flag,
    "started": _is_flag,
    "start_hooks": _is_flag,
    "poststart": _are_hooks,
    "poststop": _are_hooks,
}


def _process(value: list[int] | None) -> HostProcess | None:
    return None if value is None else HostProcess(*value)


def _look(pid: int) -> tuple[bool, int]:
    """Returns whether the process has a thread, and its start time; (False, 0) if it is gone."""
    try:
        fields = read_stat(pid)
    except (FileNotFoundError, ProcessLookupError):
        return False, 0
    # The state is that of the first thread, which may have ended before the others.
    state, threads, start = fields[0], int(fields[17]), int(fields[19])
    return state not in (b"Z", b"X") or threads > 1, start
