"""What is known of the containers of one host: a folder for each, under one root.

A folder holds `state.json`, replaced as a whole at each change, so whoever reads it needs no lock,
and `config.json` as it was when the container was made. Whoever changes a container holds the
lock of its folder. What is made for a container is noted before it is made, so that a ringlet
killed at any step leaves nothing that `delete --force` doesn't find.

A status is never believed: it is what the processes say. A process is its id and its start time.

What can't be read of `state.json` (a disk was full, a hand slipped) is damage, which is told, and
which `delete --force` removes; a key that is missing is one of a container that isn't made yet.
What another user could have written is refused: the hooks that it names would run as this one.

Source: OCI Runtime Specification 1.3, runtime.md ("State"); flock(2).
"""

from __future__ import annotations

import errno
import os
import stat
from _signal import pidfd_send_signal  # type: ignore[import-not-found]
from time import monotonic, sleep

from ringlet.closing import Closing
from ringlet.container.fast_json import dumps, loads
from ringlet.errors import RingletError
from ringlet.host import interrupt
from ringlet.host.named_file import is_ours_or_roots, keeps_names, read_named
from ringlet.host.process import read_stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_GONE_SECONDS = 10  # how long a process that was killed may take to be gone
LOCK_SECONDS = 30  # how long an operation waits for another one on the same container

_MAX_BYTES = 64 << 20  # of `state.json`, which has hooks and annotations of config.json
_MAX_PID = 1 << 22  # the kernel's PID_MAX_LIMIT

_ID = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


class StateError(RingletError):
    """A container that isn't there, is there already, or isn't in a state for what was asked."""


class DamageError(StateError):
    """A container whose `state.json` isn't what was written."""

    def __init__(self, id: str, why: str) -> None:
        super().__init__(
            f"the state of container {id} is damaged: state.json: {why}",
            f"remove what can be found of it: delete --force {id}",
        )


class Process:
    """A process of this host: `pid`, and when it started, in clock ticks since boot."""

    __slots__ = ("pid", "start")

    def __init__(self, pid: int, start: int | None = None) -> None:
        self.pid = pid
        self.start = _look(pid)[1] if start is None else start

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Process) and (self.pid, self.start) == (other.pid, other.start)

    def __hash__(self) -> int:
        return hash((self.pid, self.start))

    @property
    def alive(self) -> bool:
        """Whether a thread of it is there: a zombie that nobody has waited for has none."""
        runs, start = _look(self.pid)
        return start == self.start and runs


def send(process: Process, number: int) -> None:
    """Sends to this process, and to none that has its id by now. That it's gone is no error."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        # The descriptor stands for the process that started then, since this look is later.
        if _look(process.pid)[1] == process.start:
            pidfd_send_signal(fd, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(fd)


def await_end(process: Process, id: str) -> None:
    """Waits until the process, which was killed, is gone. Raises StateError if it doesn't go."""
    deadline = monotonic() + _GONE_SECONDS
    while process.alive:
        if monotonic() > deadline:
            raise StateError(
                f"process {process.pid} of container {id} doesn't end",
                "it waits for the kernel (a disk, a network file system?); try again later",
            )
        sleep(0.001)


class Record(Closing):
    """What is known of a container. `data` is written by `save`; what changes it holds the lock."""

    def __init__(self, root: str, id: str, *, folder_fd: int = -1) -> None:
        self.id = id
        self.folder = os.path.join(root, id)
        self.data: dict[str, Any] = {}
        self.is_damaged = False
        self._folder_fd = folder_fd  # the lock's holder, for as long as it is open

    def save(self) -> None:
        """Writes `data`, as a whole or not at all."""
        path = os.path.join(self.folder, "state.json")
        with open(path + ".new", "w") as file:
            file.write(dumps(self.data))
        os.rename(path + ".new", path)

    def read(self, *, mend: bool = False) -> None:
        """Reads `data` again; it is empty if the container's maker didn't get as far.

        Raises DamageError; or, to `mend` it, keeps what is as it should be.
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
    def init(self) -> Process | None:
        """The container's first process, dead or alive; None before it is made."""
        return _process(self.data.get("init"))

    @init.setter
    def init(self, process: Process) -> None:
        self.data["init"] = [process.pid, process.start]

    @property
    def maker(self) -> Process | None:
        """The ringlet that makes it; None once it is made."""
        return _process(self.data.get("maker"))

    def remove(self) -> None:
        """Removes the folder, `state.json` last: a removal cut short can be done again."""
        names = sorted(os.listdir(self.folder), key="state.json".__eq__)
        for name in names:
            path = os.path.join(self.folder, name)
            try:
                os.unlink(path)
            except IsADirectoryError:  # it was never ours
                from shutil import rmtree

                rmtree(path)
        os.rmdir(self.folder)

    def close(self) -> None:
        """Gives the lock back."""
        if self._folder_fd >= 0:
            os.close(self._folder_fd)
            self._folder_fd = -1


class Store:
    """The containers under the folder `root`."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)

    def create(self, id: str) -> Record:
        """A new container's record, locked. Raises StateError if there is one of this id."""
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
        if container.data:  # deleted, and made again by another, between the two steps
            container.close()
            raise StateError(f"container {id} exists already", "choose another id")
        return container

    def open(self, id: str, *, mend: bool = False) -> Record:
        """The record, locked: nobody else changes it until it is closed."""
        check_id(id)
        return self._lock(id, mend=mend)

    def look(self, id: str) -> Record:
        """The record as it is at this moment, not locked: to be read."""
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
        """The ids of all containers."""
        try:
            with os.scandir(self.root) as entries:
                names = sorted(entry.name for entry in entries if entry.is_dir())
        except FileNotFoundError:
            return
        for name in names:
            if _is_id(name):
                yield name

    def _check_owner(self, folder: str, status: os.stat_result) -> None:
        """Raises PermissionError if others may have a hand in this container's folder."""
        if not is_ours_or_roots(status):
            raise PermissionError(errno.EPERM, "it belongs to another user", folder)
        self._check_root()

    def _check_root(self) -> None:
        from ringlet.container.launch.idmap import is_root_of_host

        if is_root_of_host():  # elsewhere, a folder on the way may be nobody's that is known here
            from ringlet.host.cache import check_folder

            check_folder(self.root)
        if not keeps_names(os.stat(self.root)):
            raise PermissionError(errno.EPERM, "other users can write to it", self.root)

    def _lock(self, id: str, *, mend: bool = False) -> Record:
        from fcntl import LOCK_EX, LOCK_NB, flock

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
            if not _is_at(path, fd):  # deleted while this one waited
                raise _absent(id)
            container = Record(self.root, id, folder_fd=fd)
            container.read(mend=mend)
        except BaseException:
            os.close(fd)
            raise
        return container


def default_root() -> str:
    """The folder for root's containers, or for this user's."""
    from ringlet.container.launch.idmap import is_root_of_host

    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and not is_root_of_host():
        return os.path.join(runtime, "ringlet")
    if os.geteuid() == 0:
        return "/run/ringlet"
    raise StateError("there is no place for the state: XDG_RUNTIME_DIR isn't set", "use --root DIR")


def check_id(id: str) -> None:
    """Raises StateError unless `id` is of letters, digits and `_+-.`, and no `.` or `..`."""
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
    """It is to be removed in the end: what could lead elsewhere than it says is none."""
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


# What each key holds, where it is there.
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
    "poststart": _are_hooks,
    "poststop": _are_hooks,
}


def _process(value: list[int] | None) -> Process | None:
    return None if value is None else Process(*value)


def _look(pid: int) -> tuple[bool, int]:
    """Whether the process has a thread, and when it started; (False, 0) if there is no process."""
    try:
        fields = read_stat(pid)
    except (FileNotFoundError, ProcessLookupError):
        return False, 0
    # The state is the first thread's, which may have ended before the others.
    state, threads, start = fields[0], int(fields[17]), int(fields[19])
    return state not in (b"Z", b"X") or threads > 1, start
