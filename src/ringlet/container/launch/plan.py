"""Makes a plan from a configuration: the steps that the helper carries out, in their order.

The security depends on the order. Each step is explained where it is carried out: the table in
csrc/container/container.c names the file of each step.

Source: OCI Runtime Specification 1.3, config.md, config-linux.md and runtime-linux.md.
"""

from __future__ import annotations

import os

from ringlet.container.fast_json import dumps
from ringlet.container.launch import files, privileges
from ringlet.container.launch.description import state_of
from ringlet.container.launch.helper import STAGES
from ringlet.container.launch.idmap import is_root_of_host
from ringlet.container.spec.config_json import SpecError, process_of
from ringlet.container.spec.sysctl import FILES, namespace_of, sysctl_path
from ringlet.host.plan_word import is_plain, plan_word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.container.cgroups import Cgroup
    from ringlet.container.launch.description import Creation, Execution
    from ringlet.container.spec.types import Config, Hook, Linux, Process

# CLONE_NEW..., <linux/sched.h>.
NAMESPACES = {
    "user": 0x1000_0000,
    "mount": 0x0002_0000,
    "cgroup": 0x0200_0000,
    "uts": 0x0400_0000,
    "ipc": 0x0800_0000,
    "pid": 0x2000_0000,
    "network": 0x4000_0000,
    "time": 0x80,
}
_RUN_FOREVER = -1  # milliseconds: a hook without a timeout

# Hooks that run on the host when all is mounted at the root's path, before the root is changed.
MOUNTED_HOOKS = ("prestart", "createRuntime")


class Plan:
    """A list of steps, one on each line, and the binary data that steps refer to."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._data = b""
        self.notes: list[str] = []  # parts of the configuration that have no effect
        self.clones = 0  # how many processes it makes, one after another

    def add(self, step: str, what: object = "", *words: object) -> None:
        """Adds a step."""
        self.clones += step == "clone"
        texts = [str(word) for word in (what, *words)]
        if not is_plain("".join(texts)):  # one check for the whole line: most lines are plain
            texts = [plan_word(text) for text in texts]
        self._lines.append(" ".join([step, *texts]))

    def attach(self, data: bytes) -> int:
        """Attaches data for a step; returns the offset of the data."""
        offset = len(self._data)
        self._data += data
        return offset

    def encode(self) -> tuple[bytes, int]:
        """Returns the plan in the helper's format, and the size of its text part."""
        text = "".join(f"{line}\n" for line in self._lines).encode("ascii")
        return text + self._data, len(text)


class Descriptors:
    """The numbers that descriptors get in the helper: from `first` on."""

    def __init__(self, preserve_fds: int) -> None:
        self.first = 3 + preserve_fds
        self.numbers: dict[int, int] = {}  # our descriptor, and its number in the helper

    def give(self, fd: int) -> int:
        """Passes `fd` to the helper; returns its number there."""
        return self.numbers.setdefault(fd, self.first + len(self.numbers))


def plan_creation(
    creation: Creation,
    descriptors: Descriptors,
    *,
    start: tuple[int, int],
    console: int | None,
    listener: int | None,
) -> Plan:
    """Returns the plan of a container's init, which waits for `start` before it runs its command.

    `start` are the ends of two pipes: the init reads the word to start from the first pipe, and
    writes to the second pipe how the start goes. `console` is the socket that gets its terminal,
    `listener` the socket that gets the listener of its filter.
    """
    plan = Plan()
    config, bundle, cgroup, layer = (
        creation.config,
        creation.bundle,
        creation.cgroup,
        creation.layer,
    )
    process = process_of(config)
    linux = config.get("linux", {})
    namespaces: dict[str, str | None] = {
        one["type"]: one.get("path") for one in linux.get("namespaces", ())
    }
    new = {kind for kind, path in namespaces.items() if path is None}

    plan.add("fds", "", descriptors.first)
    _join_cgroup(plan, cgroup, None if not cgroup else cgroup.unified)
    privileges.prepare(plan, process)
    joined = [(path, NAMESPACES[kind]) for kind, path in namespaces.items() if path is not None]
    privileged = os.geteuid() == 0
    known = None if creation.root is None else descriptors.give(creation.root)

    def open_sources(*, idmap_root: bool) -> list[int]:
        return files.open_sources(
            plan,
            config,
            bundle,
            known=known,
            idmap_root=idmap_root,
            layer=layer,
            devices=cgroup is not None and cgroup.rules_devices,
        )

    if creation.no_pivot:
        privileges.refuse_no_pivot(config)
    mounts = "mount" in namespaces  # without one it has its starter's, which must not change
    parked: list[int] = []
    if privileged and mounts:
        opened = open_sources(idmap_root=creation.idmap_root)
        # Its root could get CAP_SYS_ADMIN, even later by `exec`; that of `ringlet run` never does.
        if "user" in namespaces and "mount" in new and layer is None and known is None:
            parked = opened
            plan.add("park", files.root_of(config, bundle), *parked)
    # Joined with the host's rights where possible: a user namespace gives other rights for these.
    others = [one for one in joined if one[1] != NAMESPACES["user"]]
    # A process that is already in the PID namespace could look into a process that comes in, and
    # take its rights. So the helper stays outside, and makes the container's process as the very
    # last step, as in `plan_execution`.
    pid_namespace = namespaces.get("pid")
    if pid_namespace:
        if privileged and not privileges.has_user_namespace(config):
            from ringlet.container.launch import joined_pids

            joined_pids.check(config, pid_namespace)
        others.remove((pid_namespace, NAMESPACES["pid"]))
    for path, _ in joined:
        plan.add("namespace", path)
    if pid_namespace:
        plan.add("pids", pid_namespace)
    for path, flag in others:
        plan.add("try", path, flag)
    if is_root_of_host() and "user" in new and (layer is not None or known is not None):
        plan.add("owner", linux["uidMappings"][0]["hostID"])  # of `ringlet run`
    if privileged and "user" in namespaces:
        # The user who owns a user namespace has all rights over processes in it, and until `close`
        # this process holds things of the host. Without root, this process can't be hidden yet:
        # the process that made it still has to write its ID maps.
        plan.add("hidden")
    if namespaces.get("user"):
        plan.add("join", namespaces["user"], NAMESPACES["user"])
        for path, flag in others:
            plan.add("try", path, flag)
    flags = sum(NAMESPACES[kind] for kind in new - {"time", "cgroup"})
    plan.add("clone", "helper" if pid_namespace else "container", flags)
    plan.add("await")
    if "time" in new:  # once this process is hidden, its files in /proc are another user's
        plan.add("timens", _offsets(linux))
    if "user" in namespaces:
        plan.add("become")
        if privileged:
            plan.add("hidden")
    plan.add("stage", STAGES[0])
    for path, flag in others:
        plan.add("join", path, flag)
    if pid_namespace:
        plan.add("pids", pid_namespace)
    if namespaces.get("mount"):  # as a copy: the other processes in it keep their root and mounts
        plan.add("unshare", "mount", NAMESPACES["mount"])
    if "cgroup" in new:
        plan.add("unshare", "cgroup", NAMESPACES["cgroup"])  # shows the cgroup that it is in by now
    plan.add("session")
    if not creation.no_new_keyring:
        plan.add("keyring")
    _keep_apart(plan, config, set(namespaces) - new)
    _name_things(plan, config, linux, new)
    if parked:
        plan.add("take", "", *parked)
    if not privileged and mounts:
        open_sources(idmap_root=False)
    if mounts:
        files.build_root(plan, config, bundle, cgroup=cgroup, new=new)
    else:
        _keep_null(plan, config)
    hooks = config.get("hooks", {})
    if any(hooks.get(point) for point in MOUNTED_HOOKS):
        plan.add("mounted")
        plan.add("await")
    state = _state(config, bundle, creation.id)
    for hook in hooks.get("createContainer", ()):
        # The hook is a program of the host, and may know ringlet's environment.
        ours = [f"{name}={value}" for name, value in os.environ.items()]
        _add_hook(plan, "createContainer", hook, state("creating"), ours)
    plan.add("stage", STAGES[1])
    if mounts:
        plan.add("move_root" if creation.no_pivot else "pivot")
    else:
        plan.add("chroot", files.root_of(config, bundle))
    plan.add("stage", STAGES[2])
    terminal = process.get("terminal", False) and console is not None
    if terminal:
        assert console is not None
        _add_console(plan, process, descriptors.give(console), mount=True)
    files.protect(plan, config)
    privileges.set_labels(plan, process)
    kept = [descriptors.give(end) for end in start]
    waits = tuple(kept)
    if listener is not None:
        kept.append(descriptors.give(listener))
    if pid_namespace:  # after hooks: the namespace would see these programs of the host
        plan.add("join_pids", pid_namespace)
    plan.add("close", "", *kept)
    filter = privileges.FilterSteps.of(linux, process, None if listener is None else kept[-1])
    if filter and not filter.lets_a_process_wait:
        raise SpecError(
            "linux.seccomp: the filter forbids read, write, close or execve, without which no "
            "command starts",
            "allow these system calls",
        )
    # A process of `exec` may look into this process while this process waits. By then this process
    # has lost its rights, and has its filter.
    in_child = pid_namespace is not None and privileges.is_not_inherited(process)
    late = None if pid_namespace is None else _late(config, process, filter, pid_namespace)
    _give_up_rights(plan, config, process, filter, schedules=in_child)
    # Without root, ringlet needs the files of the process in /proc: engines join its network. But
    # those in a joined PID namespace must not take over a process that has no filter yet.
    if privileged or "user" not in namespaces or late:
        plan.add("hidden")
    if pid_namespace:
        _be_seen(plan, process, filter, late, schedules=in_child, terminal=terminal)
    else:
        if terminal:
            plan.add("terminal")
        privileges.find_command(plan, process)
        late = filter
    plan.add("outlive")
    # Limits come last where possible: they could be too tight for a step.
    limits_first = late is not None and not late.lets_limits_be_set
    if limits_first:
        privileges.set_limits(plan, process)
    if late:
        late.add_to(plan)
    plan.add("ready")
    plan.add("wait", "", *waits)
    if not limits_first:
        privileges.set_limits(plan, process)
    for hook in hooks.get("startContainer", ()):
        # The hook is a program of the image, and must not learn ringlet's environment.
        _add_hook(plan, "startContainer", hook, state("created"), process.get("env", []))
    plan.add("exec")
    return plan


def plan_execution(
    execution: Execution,
    descriptors: Descriptors,
    *,
    namespaces: list[tuple[int, int]],
    unified: str | None,
    console: int | None,
    listener: int | None,
) -> Plan:
    """Returns the plan for one more process in `namespaces`: descriptors and types (CLONE_NEW...).

    `unified` is the folder of the cgroup of version 2 that the init is in.

    The helper is outside of the container's PID namespace, so no process in that namespace can look
    into it. The helper gives up everything of the host, and all rights except the command's. Only
    then it makes the process that processes of the container can see.
    """
    plan = Plan()
    config, process = execution.config, execution.process
    plan.add("fds", "", descriptors.first)
    privileges.set_affinity(plan, process, "initial")
    _join_cgroup(plan, execution.cgroup, unified)
    if unified is not None:  # a new process can start in a cgroup faster than move there
        plan.add("clone", "helper", 0)
        plan.add("await")
    privileges.prepare(plan, process)
    privileges.set_labels(plan, process)
    _keep_null(plan, config)
    plan.add("hidden")  # from processes that share the host's PID namespace
    joined = [(f"/proc/self/fd/{descriptors.give(fd)}", flag) for fd, flag in namespaces]
    users = [one for one in joined if one[1] == NAMESPACES["user"]]
    others = [one for one in joined if one not in users]
    for path, _ in joined:
        plan.add("namespace", path)
    for path, flag in others:  # as in `plan_creation`: with the host's rights or the users'
        plan.add("try", path, flag)
    for path, flag in users + others:
        plan.add("join", path, flag)
    if users:
        plan.add("become")
        plan.add("hidden")  # a change of ids undoes `hidden` where fs.suid_dumpable is 1
    plan.add("keyring")
    terminal = process.get("terminal", False) and console is not None
    if terminal:
        assert console is not None
        _add_console(plan, process, descriptors.give(console), mount=False)
    privileges.set_affinity(plan, process, "final")
    sockets = [] if listener is None else [descriptors.give(listener)]
    plan.add("close", "", *sockets)
    filter = privileges.FilterSteps.of(
        config.get("linux", {}), process, None if listener is None else sockets[0]
    )
    late = _late(config, process, filter, f"/proc/{execution.init.pid}/ns/pid")
    in_child = privileges.is_not_inherited(process)  # its scheduling
    _give_up_rights(plan, config, process, filter, schedules=in_child)
    plan.add("hidden")  # after the last change of ids
    _be_seen(plan, process, filter, late, schedules=in_child, terminal=terminal)
    privileges.set_limits(plan, process)
    plan.add("outlive")
    if late:
        late.add_to(plan)
    plan.add("exec")
    return plan


def _give_up_rights(
    plan: Plan,
    config: Config,
    process: Process,
    filter: privileges.FilterSteps | None,
    *,
    schedules: bool,
) -> None:
    """Gives up all rights except the command's. With `schedules`, scheduling is set later."""
    privileges.become_user(plan, process, schedule=not schedules)
    privileges.drop_rights(plan, process, config.get("linux", {}), filter, schedules=schedules)


def _late(
    config: Config, process: Process, filter: privileges.FilterSteps | None, pids: str
) -> privileges.FilterSteps | None:
    """Returns a filter that forbids what makes a process be seen, and so is set after that.

    `pids` is the path of the PID namespace in which the process is seen.
    """
    if filter is None or filter.lets_a_process_begin:
        return None
    privileges.refuse_late(config, process, filter, pids)
    return filter


def _be_seen(
    plan: Plan,
    process: Process,
    filter: privileges.FilterSteps | None,
    late: privileges.FilterSteps | None,
    *,
    schedules: bool,
    terminal: bool,
) -> None:
    """Makes the process that others in the PID namespace can see, and that runs the command."""
    privileges.find_command(plan, process)
    if filter and not late:
        filter.add_to(plan, schedules=schedules)
    plan.add("clone", "container", 0)
    plan.add("await")
    plan.add("session")
    if terminal:
        plan.add("terminal")
    if schedules:
        privileges.schedule_late(plan, process, late)


def _keep_null(plan: Plan, config: Config) -> None:
    """Keeps the mode of a stream that is the host's null device, where the process may own it."""
    if is_root_of_host() and not privileges.has_user_namespace(config):
        plan.add("null")


def _join_cgroup(plan: Plan, cgroup: Cgroup | None, unified: str | None) -> None:
    if unified is not None:
        plan.add("unified", unified)
    if cgroup:
        # A cpuset without processors and memory takes no process: the C code has filled it before.
        for tasks in sorted(cgroup.tasks, key=lambda path: "cpuset" not in path):
            plan.add("cgroup", tasks)


def _offsets(linux: Linux) -> str:
    """Returns the offsets in the form of /proc/PID/timens_offsets (time_namespaces(7))."""
    offsets = linux.get("timeOffsets", {})
    lines = ""
    for clock, offset in (
        ("monotonic", offsets.get("monotonic")),
        ("boottime", offsets.get("boottime")),
    ):
        if offset is not None:
            lines += f"{clock} {offset.get('secs', 0)} {offset.get('nanosecs', 0)}\n"
    return lines


def _keep_apart(plan: Plan, config: Config, joined: set[str]) -> None:
    """Checks that what is set up is no namespace of ours; `spec` has checked only its path."""
    changed = {namespace_of(sysctl_path(name)) for name in config["linux"].get("sysctl", ())}
    if "hostname" in config or "domainname" in config:
        changed.add("uts")
    for kind in sorted(joined & FILES.keys() & changed):
        plan.add("apart", kind, FILES[kind], os.stat(f"/proc/self/ns/{FILES[kind]}").st_ino)


def _name_things(plan: Plan, config: Config, linux: Linux, new: set[str]) -> None:
    if "network" in new:
        plan.add("loopback")
    if "hostname" in config:
        plan.add("hostname", config["hostname"])
    if "domainname" in config:
        plan.add("domainname", config["domainname"])
    for name, value in linux.get("sysctl", {}).items():
        plan.add("sysctl", name, sysctl_path(name), value)


def _state(config: Config, bundle: str, id: str) -> Callable[[str], str]:
    """Returns a function that gives the state as JSON, up to the process id, for a status."""
    return lambda status: f'{dumps(state_of(config, bundle, id, status))[:-1]}, "pid": '


def _add_hook(plan: Plan, point: str, hook: Hook, state: str, environment: list[str]) -> None:
    """Adds a hook; `environment` is for a hook whose configuration has none."""
    seconds = hook.get("timeout")
    arguments = hook.get("args") or [hook["path"]]
    plan.add(
        "hook",
        point,
        hook["path"],
        _RUN_FOREVER if seconds is None else seconds * 1000,
        state,
        len(arguments),
        *arguments,
        *hook.get("env", environment),
    )


def _add_console(plan: Plan, process: Process, socket: int, *, mount: bool) -> None:
    size = process.get("consoleSize", {"height": 0, "width": 0})
    plan.add("console", "", socket, size["height"], size["width"], int(mount))


if TYPE_CHECKING:
    from collections.abc import Callable
