"""A container for programs, with the life of a `Machine`.

    with Container(Workload(rootfs="rootfs", command=["ls", "/"])) as container:
        print(container.run().status)

Making one resolves and opens all that its configuration names. `start` lets the command run,
`wait` waits for its end; `run` is both.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]
import os
import time
from _socket import AF_UNIX, SOCK_SEQPACKET, socketpair
from contextlib import ExitStack, suppress
from select import POLLIN, poll
from threading import Lock, Timer

from ringlet.closing import Closing
from ringlet.errors import ConfigError, RingletError
from ringlet.host.workload import PIDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple

    from ringlet.container.cgroups import Cgroup
    from ringlet.container.spec.types import Config
    from ringlet.host.outcome import Usage
    from ringlet.host.workload import Workload
else:
    from ringlet.host.named_tuple import NamedTuple

TIMEOUT_STATUS = 124


class Timings:
    """When each step was over: CLOCK_MONOTONIC in nanoseconds, None while it isn't."""

    __slots__ = ("cloned", "created", "end", "mounted", "pivoted", "started")

    def __init__(self) -> None:
        self.cloned: int | None = None  # the namespaces are there, and the ids are mapped
        self.mounted: int | None = None  # all that the container sees is
        self.pivoted: int | None = None  # its root is its own
        self.created: int | None = None  # the container is there, and its init waits
        self.started: int | None = None  # the command runs
        self.end: int | None = None


class ContainerResult(NamedTuple):
    """How a container ended: the `Outcome` of a container.

    `reason` is `exit`, `signal`, `timeout`, `stopped` or `killed`.
    """

    reason: str
    status: int
    usage: Usage
    oom_kills: int  # how many of its processes the kernel has killed for want of memory


class Container(Closing):
    """A container that is there and whose command doesn't run yet: a context manager, for one run.

    `stdio` are the descriptors of its standard streams. With `tty`, its terminal's other end
    comes through the socket at `console_socket`. Raises `RingletError`.
    """

    def __init__(
        self,
        config: Workload,
        *,
        stdio: tuple[int, int, int] = (0, 1, 2),
        console_socket: str | None = None,
    ) -> None:
        from ringlet.container.describe import describe

        self.config = config
        self.id = f"run-{os.urandom(6).hex()}"
        self.timings = Timings()
        self.result: ContainerResult | None = None
        self._was_started = False
        self._reason: str | None = None  # of an end that was asked for
        self._lock = Lock()
        self._timer: Timer | None = None
        description, self.notes = describe(config)
        with ExitStack() as stack:
            self._open(stack, description, stdio, console_socket)
            self._stack = stack.pop_all()
        self.timings.created = time.monotonic_ns()

    def _open(
        self,
        stack: ExitStack,
        description: dict[str, Any],
        stdio: tuple[int, int, int],
        console_socket: str | None,
    ) -> None:
        from ringlet.container.cgroups import Cgroups
        from ringlet.container.describe import layer
        from ringlet.container.launch import guard, launch
        from ringlet.container.launch.helper import LaunchError

        # It is as `spec.check` would have it: a test holds that.
        config: Config = description  # type: ignore[assignment]
        cgroups = Cgroups.find()
        guard.expect([hierarchy.place(None, self.id) for hierarchy in cgroups.hierarchies])
        self.cgroup: Cgroup = cgroups.create(
            None, self.id, config["linux"]["resources"], may_lack=os.geteuid() != 0
        )
        self.notes += self.cgroup.notes
        stack.callback(self.cgroup.delete)
        if self.cgroup and "pids" not in config["linux"]["resources"]:
            self._limit_processes()
        self._connection, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
        stack.callback(self._connection.close)
        unmapped: set[str] = set() if os.geteuid() == 0 else {"/"}
        rootfs = None
        try:
            if self.config.write:
                rootfs = self._open_rootfs()
            while True:
                try:
                    launched = launch.create(
                        config,
                        "/",  # all its paths are absolute
                        cgroup=self.cgroup,
                        folder=self.id,
                        on_runtime=guard.watch,
                        console_socket=console_socket,
                        stdio=stdio,
                        root=rootfs,
                        idmap_root="/" not in unmapped,
                        layer=layer(self.config),
                        connection=theirs.fileno(),
                    )
                    break
                except LaunchError as error:
                    if error.step != "idmap" or error.what in unmapped:
                        raise
                    unmapped.add(error.what)
                    self._without_ids(config, error.what)
        finally:
            if rootfs is not None:
                os.close(rootfs)
            theirs.close()
        self.pid, self._pidfd = launched.pid, launched.pidfd
        self.timings.cloned, self.timings.mounted, self.timings.pivoted = launched.stages
        stack.callback(os.close, self._pidfd)
        stack.callback(self._end)

    def _open_rootfs(self) -> int:
        """To write to. Raises `ConfigError` if what the container makes there could harm us."""
        from ringlet.container.reach import is_reached_by_others

        rootfs = os.open(self.config.rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if not is_reached_by_others(rootfs):
            return rootfs
        os.close(rootfs)
        raise ConfigError(
            f"other users of this host reach {os.fsdecode(self.config.rootfs)}, where a "
            "setuid program that the container makes would be yours",
            "put it into a folder that you alone enter (chmod 700 on that), or leave out --write",
        )

    def _without_ids(self, config: Config, target: str) -> None:
        """The file system of what is mounted there can't map IDs."""
        for mount in config["mounts"]:
            if mount["destination"] == target and "idmap" in mount["options"]:
                mount["options"].remove("idmap")
        self.notes.append(
            f"what is in {'the rootfs' if target == '/' else target} belongs to nobody in there, "
            "and can't be written: its file system can't map IDs (ext4, xfs and btrfs can, tmpfs "
            "since Linux 6.3)"
        )

    def _limit_processes(self) -> None:
        """The default, which nobody has asked for, where a user without rights may set it."""
        from ringlet.container.cgroups import CgroupError

        try:
            self.cgroup.set({"pids": {"limit": PIDS}})
        except CgroupError:
            self.notes.append("its processes are not limited: that takes a pids controller")

    def start(self) -> None:
        """Lets the command run. Raises `RingletError`, with `status` 126 or 127 if it can't be."""
        from ringlet.container.launch import launch

        if self._was_started:
            raise RingletError("this container has run already", "make a new one for each run")
        self._was_started = True
        launch.start_over(self._connection)
        self.timings.started = time.monotonic_ns()
        if self.config.timeout is not None:
            self._timer = Timer(self.config.timeout, self._kill, ["timeout"])
            self._timer.daemon = True
            self._timer.start()

    def run(self) -> ContainerResult:
        """Lets the command run, to its end."""
        self.start()
        result = self.wait()
        assert result is not None
        return result

    def wait(self, timeout: float | None = None) -> ContainerResult | None:
        """Waits for the end; None if it hasn't come after `timeout` seconds."""
        if not self._was_started:
            raise RingletError("this container was never started", "call start() or run() first")
        waiting = poll()
        waiting.register(self._pidfd, POLLIN)
        if not waiting.poll(None if timeout is None else max(0, int(timeout * 1000))):
            return None
        self._reap()
        return self.result

    def pause(self) -> None:
        """Stops all its processes, until `resume`."""
        self.cgroup.freeze()

    def resume(self) -> None:
        """Lets them go on."""
        self.cgroup.thaw()

    def stop(self, timeout: float | None = None) -> ContainerResult:
        """Asks the command to end by SIGTERM; after `timeout` seconds it is killed.

        If no `timeout` is given, the configuration's `stop_timeout` counts.
        """
        timeout = self.config.stop_timeout if timeout is None else timeout
        self._reason = self._reason or "stopped"
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)
        result = self.wait(timeout)
        if result is None:
            self.kill()
            result = self.wait()
            assert result is not None
        return result

    def kill(self) -> None:
        """Ends it at once, and doesn't wait."""
        self._kill("killed")

    def signal(self, number: int) -> None:
        """Sends its command a signal. One that it doesn't handle is lost: it is process 1."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def usage(self) -> Usage:
        """What it has used so far, by its cgroup."""
        return self.cgroup.usage() if self.result is None else self.result.usage

    def stats(self) -> dict[str, Any]:
        """All that its cgroup counts, as `ringlet-oci events --stats` has it. For an open one."""
        return self.cgroup.stats()

    def fileno(self) -> int:
        """Readable once it has ended: for select, poll and asyncio."""
        return self._pidfd

    def _kill(self, reason: str) -> None:
        self._reason = self._reason or reason
        with suppress(ProcessLookupError):
            # It is process 1: with it go all that it has.
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        if self.cgroup.frozen:
            self.cgroup.thaw()

    def _reap(self) -> None:
        with self._lock:
            if self.result is not None:
                return
            _, status = os.waitpid(self.pid, 0)
            self.timings.end = time.monotonic_ns()
            if self._timer is not None:
                self._timer.cancel()
            code = os.waitstatus_to_exitcode(status)
            reason = self._reason or ("signal" if code < 0 else "exit")
            code = TIMEOUT_STATUS if reason == "timeout" else 128 - code if code < 0 else code
            oom_kills = self.cgroup.oom_kills()
            self.result = ContainerResult(reason, code, self.usage(), oom_kills)

    def _end(self) -> None:
        if self.result is None:
            self._kill("stopped")
            self._reap()

    def close(self) -> None:
        """Ends it if it runs, and removes all that was made."""
        self._stack.close()
