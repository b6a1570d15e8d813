"""The operations on a container, which use its parts: record, configuration, cgroup, launch, hooks.

All operations keep one order: each thing is noted first and made after that. In the end everything
that is noted is removed, whether it was made or not.

Source: OCI Runtime Specification 1.3, runtime.md ("Lifecycle", "Operations"); sd_listen_fds(3).
"""

from __future__ import annotations

import os

from ringlet.container.launch import launch
from ringlet.container.log import now
from ringlet.container.pid_file import write_pid
from ringlet.container.state import (
    DamageError,
    HostProcess,
    StateError,
    await_end,
    send,
)
from ringlet.errors import RingletError
from ringlet.host import interrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ringlet.container.attachment import Attachment
    from ringlet.container.cgroups import Cgroup
    from ringlet.container.launch.helper import Launched
    from ringlet.container.log import Log
    from ringlet.container.notify import Notify
    from ringlet.container.requests import CreateRequest, ExecRequest
    from ringlet.container.spec.types import Config, Linux, Resources
    from ringlet.container.spec.types import Process as ProcessConfig
    from ringlet.container.state import (
        Record,
        Store,
    )

_RESERVE = 4 << 20  # bytes

SIGKILL = 9  # of the module signal, whose import takes a tenth of the time of a `run`


class Runtime:
    """The containers under one root. With `may_lack`, cgroups that can't be made are left out."""

    def __init__(self, store: Store, log: Log, *, may_lack: bool = False) -> None:
        self.store = store
        self.log = log
        self.may_lack = may_lack
        # This is freed before failed work is undone, in case memory ran out. Bytes take no memory
        # until they are read; a bytearray would be written, in a tenth of the time of a `start`.
        self._reserve: bytes | None = bytes(_RESERVE)

    def create(
        self,
        id: str,
        request: CreateRequest,
        attachment: Attachment | None = None,
    ) -> tuple[Record, Launched]:
        """Makes a container whose init waits for `start`; the caller closes its locked record.

        The container sends its terminal, if it has one, to the console socket of the `request`, or
        to a socket of the `attachment`, which also opens its streams. On any error nothing is left.
        """
        # `start` and `delete` don't need these modules.
        from ringlet.container.launch import namespaces
        from ringlet.container.launch.description import Creation
        from ringlet.container.spec import config_json

        interrupt.check()
        bundle = os.path.abspath(request.bundle)
        container = self.store.create(id)
        try:
            maker = HostProcess(os.getpid())
            container.data = {
                "bundle": bundle,
                "created": now(),
                "owner": os.geteuid(),
                "maker": [maker.pid, maker.start],
            }
            container.save()
            self.log.debug(f"{id}: made of {bundle}, its state is in {container.folder}")
            _keep_config(bundle, container.folder)
            config = config_json.load(container.folder)
            console_socket, stdio = streams_for(
                config.get("process", {}).get("terminal", False),
                request.console_socket,
                attachment,
            )
            if request.listen_fds and "process" in config:
                config["process"]["env"] = [
                    *config["process"].get("env", ()),
                    f"LISTEN_FDS={request.listen_fds}",
                    "LISTEN_PID=1",
                ]
            if "NOTIFY_SOCKET" in os.environ:
                from ringlet.container.notify import prepare

                prepare(config, container.folder)
            hooks = config.get("hooks", {})
            linux = config.get("linux", {})
            container.data.update(
                rootfs=os.path.join(bundle, config["root"]["path"]),
                annotations=config.get("annotations", {}),
                poststart=hooks.get("poststart", []),
                poststop=hooks.get("poststop", []),
                start_hooks=bool(hooks.get("startContainer")),
                own_pids=any(
                    one["type"] == "pid" and "path" not in one
                    for one in linux.get("namespaces", ())
                ),
            )
            cgroup = self._create_cgroup(container, linux)
            self._warn_of_capabilities(config, config.get("process"))

            def on_runtime(pid: int) -> None:
                container.init = HostProcess(pid)
                container.save()
                self.log.debug(f"{id}: process {pid} is in its namespaces")

            def on_mounted() -> None:
                for point in ("prestart", "createRuntime"):
                    self._run_hooks(container, point, hooks.get(point, []), "creating")

            creation = Creation(
                config,
                bundle,
                container.folder,
                cgroup,
                console_socket=console_socket,
                stdio=stdio,
                preserve_fds=request.listen_fds + request.preserve_fds,
                no_pivot=request.no_pivot,
                no_new_keyring=request.no_new_keyring,
            )
            launched = launch.create(creation, on_runtime=on_runtime, on_mounted=on_mounted)
            for note in launched.notes:
                self.log.warning(note)
            container.init = HostProcess(launched.pid)
            container.data["namespaces"] = namespaces.note(launched.pid)
            self.log.debug(f"{id}: process {launched.pid} waits to be started")
            interrupt.check()
            if request.pid_file is not None:
                write_pid(request.pid_file, launched.pid)
            del container.data["maker"]
            container.save()
        except BaseException:
            try:
                self._destroy(container)
            finally:
                container.close()
            raise
        return container, launched

    def start(self, id: str) -> None:
        """Lets a created container run; with NOTIFY_SOCKET, waits until the container is ready."""
        with self.store.open(id) as container:
            notify = self.start_locked(container)
        if notify is not None and container.init is not None:
            notify.wait(container.init)

    def start_locked(self, container: Record, *, foreground: bool = False) -> Notify | None:
        """Does `start` for a record that the caller holds; returns the container's notify socket.

        In the `foreground`, the service's main process is this process, not the container's.
        """
        status = self.status(container)
        if status != "created":
            raise StateError(f"container {container.id} is {status}, not created", "see `state`")
        # Noted before the start: if this ringlet is killed here, the container may be running,
        # and a container that may be running must not be started a second time.
        interrupt.check()
        container.data["started"] = True
        container.save()
        notify, init = None, container.init
        assert init is not None  # or it would not be `created`
        if "NOTIFY_SOCKET" in os.environ:
            from ringlet.container.notify import listen

            main_pid = None if foreground else init.pid
            notify = listen(container.folder, self.log, main_pid=main_pid)
        try:
            has_hooks = container.data.get("start_hooks", False)
            launch.start(container.folder, init, has_hooks=has_hooks)
            self.log.debug(f"{container.id}: its process runs its command")
            self._run_hooks(container, "poststart", container.data.get("poststart"), "running")
        except RingletError as error:
            # The specification wants a container destroyed if a hook failed. A container whose
            # command can't be run is stopped, and its engine deletes it.
            if getattr(error, "step", "hook") == "hook":
                self._destroy(container)
            raise
        return notify

    def execute(
        self, id: str, request: ExecRequest, attachment: Attachment | None = None
    ) -> Launched:
        """Runs one more process in a container. The `attachment` is as in `create`."""
        from ringlet.container.launch.description import Execution
        from ringlet.container.spec import config_json

        container = self.store.look(id)
        status = self.status(container)
        init = container.init
        if init is None or status in ("stopped", "creating"):
            raise StateError(f"container {id} not running: it is {status}", "start it first")
        if status == "paused" and not request.ignore_paused:
            raise StateError(f"container {id} is paused", f"resume {id}, or use --ignore-paused")
        config = config_json.load(container.folder)
        process = request.edit(config["process"])
        self._warn_of_capabilities(config, process)
        console_socket, stdio = streams_for(
            process.get("terminal", False), request.console_socket, attachment
        )
        cgroup = self.cgroup(container)
        if request.cgroups:
            cgroup = self._limited(container).below(request.cgroups)
        execution = Execution(
            init,
            config,
            process,
            cgroup,
            namespaces=container.data.get("namespaces"),
            console_socket=console_socket,
            stdio=stdio,
            preserve_fds=request.preserve_fds,
            bundle=container.data.get("bundle", ""),
            id=id,
        )
        launched = launch.execute(execution)
        self.log.debug(f"{id}: process {launched.pid} runs its command")
        try:
            if request.pid_file is not None:
                write_pid(request.pid_file, launched.pid)
        except BaseException:
            os.kill(launched.pid, SIGKILL)
            raise
        return launched

    def status(self, container: Record) -> str:
        """Returns creating, created, running, paused or stopped."""
        maker, init = container.maker, container.init
        if maker is not None:
            return "creating" if maker.alive else "stopped"
        if init is None or not init.alive:
            return "stopped"
        cgroup = self.cgroup(container)
        if cgroup is not None and cgroup.frozen:
            return "paused"
        return "running" if container.data.get("started") else "created"

    def state(self, container: Record, status: str | None = None) -> dict[str, Any]:
        """Returns the state that the specification defines, and fields that engines expect."""
        from ringlet.container.spec.names import OCI_VERSION

        status = status or self.status(container)
        data, init = container.data, container.init
        return {
            "ociVersion": OCI_VERSION,
            "id": container.id,
            "status": status,
            "pid": 0 if init is None or status == "stopped" else init.pid,
            "bundle": data.get("bundle", ""),
            "rootfs": data.get("rootfs", ""),
            "created": data.get("created", "0001-01-01T00:00:00Z"),
            "annotations": data.get("annotations", {}),
            "owner": data.get("owner", 0),
        }

    def kill(self, id: str, number: int, *, all: bool = False) -> None:
        """Sends the signal to the container's init, or to all its processes."""
        container = self.store.look(id)
        status = self.status(container)
        self.log.debug(f"{id}: signal {number}; it is {status}")
        cgroup, init = self.cgroup(container), container.init
        if all and cgroup is not None:
            if number == SIGKILL:
                cgroup.kill()
            else:
                cgroup.signal(number)
            return
        if init is None or status == "stopped":
            raise StateError(f"container {id} not running", "`state` shows what it is")
        send(init, number)
        if number == SIGKILL and cgroup is not None:
            if not container.data.get("own_pids"):
                cgroup.kill()  # without this, the other processes would not end with the init
            if status == "paused":
                cgroup.thaw()  # in version 1 a frozen process doesn't even die

    def delete(self, id: str, *, force: bool = False, init: HostProcess | None = None) -> None:
        """Removes a stopped container; with `force`, one in any state, or a missing one.

        With `init`, removes the container only if `init` is its first process.
        """
        self._reserve = None
        try:
            container = self.store.open(id, mend=force)
        except StateError:
            if force and not os.path.lexists(os.path.join(self.store.root, id)):
                return
            raise
        with container:
            if init is not None and container.init != init:
                return
            if container.is_damaged and "cgroup" not in container.data:
                from ringlet.container.mend import find_cgroup

                container.data["cgroup"] = find_cgroup(container, self.store)
            status = self.status(container)
            if not force and status != "stopped":
                raise StateError(
                    f"cannot delete container {id} that is not stopped: {status}",
                    f"kill it first, or: delete --force {id}",
                )
            self._destroy(container)

    def pause(self, id: str) -> None:
        """Freezes all processes of the container."""
        with self.store.open(id) as container:
            status = self.status(container)
            if status not in ("running", "created"):
                raise StateError(f"container {id} is {status}: it can't be paused", "see `state`")
            self._limited(container).freeze()

    def resume(self, id: str) -> None:
        """Lets the processes of a paused container go on."""
        with self.store.open(id) as container:
            status = self.status(container)
            if status != "paused":
                raise StateError(f"container {id} is {status}, not paused", "see `state`")
            self._limited(container).thaw()

    def update(self, id: str, resources: Resources) -> None:
        """Sets the limits that `resources` has; the other limits stay."""
        with self.store.open(id) as container:
            status = self.status(container)
            if status == "stopped":
                raise StateError(f"container {id} not running", "`state` shows what it is")
            self._limited(container).set(resources)

    def processes(self, id: str) -> list[int]:
        """Returns the ids that the container's processes have on this host."""
        container = self.store.look(id)
        cgroup = self.cgroup(container)
        if cgroup is not None:
            return cgroup.processes()
        if self.status(container) == "stopped" or container.init is None:
            return []
        return [container.init.pid]

    def cgroup(self, container: Record) -> Cgroup | None:
        """Returns the container's cgroup; None if it has none."""
        data = container.data.get("cgroup")
        if data is None:
            return None
        from ringlet.container.cgroups.cgroup import Cgroup

        return Cgroup.load(data) or None

    def states(self) -> list[dict[str, Any]]:
        """Returns the state of each container."""
        states = []
        for id in self.store.ids():
            try:
                states.append(self.state(self.store.look(id)))
            except DamageError as error:
                self.log.warning(f"{error.message} ({error.hint})")
            except StateError:  # the container has been deleted meanwhile
                continue
            except PermissionError as error:
                self.log.warning(f"{error.filename}: {error.strerror}")
        return states

    def _create_cgroup(self, container: Record, linux: Linux) -> Cgroup:
        from ringlet.container.cgroups.find import Cgroups, check_path

        path = linux.get("cgroupsPath")
        if path is not None:
            check_path(path)  # before the path is looked at, and noted for removal
        cgroups = Cgroups.find()
        planned = container.data["planned"] = []
        for hierarchy in cgroups.hierarchies:
            folder = hierarchy.place(path, container.id)
            while not os.path.isdir(folder):
                planned.append(folder)
                folder = os.path.dirname(folder)
        container.save()
        cgroup = cgroups.create(
            path, container.id, linux.get("resources", {}), may_lack=self.may_lack
        )
        del container.data["planned"]
        container.data["cgroup"] = cgroup.to_state()
        container.save()
        self.log.debug(f"{container.id}: cgroup {container.data['cgroup']}")
        for note in cgroup.notes:
            self.log.warning(note)
        return cgroup

    def _warn_of_capabilities(self, config: Config, process: ProcessConfig | None) -> None:
        from ringlet.container.launch.privileges import lacking_capabilities

        if process is not None and (warning := lacking_capabilities(config, process)):
            self.log.warning(warning)

    def _limited(self, container: Record) -> Cgroup:
        cgroup = self.cgroup(container)
        if cgroup is None:
            raise StateError(
                f"container {container.id} has no cgroup", "run it where it may have one"
            )
        return cgroup

    def _destroy(self, container: Record) -> None:
        """Ends and removes everything of the container that has been made. Can be done again."""
        self._reserve = None
        self.log.debug(f"{container.id}: what there is of it is removed")
        init, cgroup = container.init, self.cgroup(container)
        if init is not None:
            send(init, SIGKILL)
        if cgroup is not None:
            cgroup.kill()
        if init is not None:
            await_end(init, container.id)
        if cgroup is not None:
            cgroup.delete()
        for folder in container.data.get("planned", ()):
            try:
                os.rmdir(folder)
            except OSError:  # the folder was never made, or belongs to another container by now
                continue
        state = self.state(container, "stopped") if container.data.get("poststop") else None
        container.remove()
        if state is not None:
            self._run_poststop(container, state)

    def _run_hooks(self, container: Record, point: str, hooks: Any, status: str) -> None:
        if hooks:
            from ringlet.container.launch.hooks import run_hooks

            self.log.debug(f"{container.id}: {point} hooks: {[hook['path'] for hook in hooks]}")
            run_hooks(point, hooks, self.state(container, status), container.data["bundle"])

    def _run_poststop(self, container: Record, state: dict[str, Any]) -> None:
        from ringlet.container.launch.hooks import run_all_hooks

        data = container.data
        for error in run_all_hooks("poststop", data["poststop"], state, data["bundle"]):
            self.log.warning(error.message)


def streams_for(
    terminal: bool, socket: str | None, attachment: Attachment | None
) -> tuple[str | None, tuple[int, int, int]]:
    """Returns the console socket of a process, None without a terminal; and its streams."""
    ours = (0, 1, 2)
    if not terminal:
        if socket is not None:
            raise StateError(
                "--console-socket, but the process has no terminal", "set process.terminal"
            )
        return None, ours if attachment is None else attachment.open_streams()
    if socket is None and attachment is not None:
        return attachment.open_console(), ours
    if socket is None:
        raise StateError(
            "the process has a terminal that nobody would hold", "use --console-socket SOCKET"
        )
    return socket, ours


def _keep_config(bundle: str, folder: str) -> None:
    """Copies the configuration: the copy is checked, and `exec` reads the copy."""
    from ringlet.container.spec.config_json import MAX_BYTES
    from ringlet.host.named_file import read_named

    try:
        text = read_named(os.path.join(bundle, "config.json"), MAX_BYTES)
    except OSError as error:
        raise StateError(
            f"{bundle}/config.json: {error.strerror}", "--bundle names the folder it is in"
        ) from None
    with open(os.path.join(folder, "config.json"), "wb") as copy:
        copy.write(text)
