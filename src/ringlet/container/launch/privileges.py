"""The part of a plan that deals with the process: its user, its rights and its limits.

Source: OCI Runtime Specification 1.3, config.md ("POSIX process", "Linux Process").
"""

from __future__ import annotations

from ringlet.container.launch.labels import label_of
from ringlet.container.spec.checkers import SpecError, shown
from ringlet.container.spec.names import (
    CAPABILITIES,
    IO_CLASSES,
    MEMORY_POLICIES,
    MEMORY_POLICY_FLAGS,
    RLIMITS,
    SCHEDULER_FLAGS,
    SCHEDULER_POLICIES,
)
from ringlet.host.number_list import parse_numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from ringlet.container.launch.plan import Plan
    from ringlet.container.spec.types import Config, Linux, Process, Seccomp

_PERSONALITIES = {"LINUX": 0, "LINUX32": 8}
_IO_CLASS_SHIFT = 13
_FOR_FILTER = 1 << CAPABILITIES.index("CAP_SYS_ADMIN")
_FOR_SCHEDULING = 1 << CAPABILITIES.index("CAP_SYS_NICE")
_SHOWN = 8  # capabilities, in a message

# System calls by x86-64's numbers, with those arguments that a filter could check.
_READ, _WRITE, _CLOSE, _EXECVE = (0, ()), (1, ()), (3, ()), (59, ())
_TIOCSCTTY, _SETSID, _CLONE_PARENT, _PDEATHSIG, _EXIT_GROUP = (
    (16, (0, 0x540E)), (112, ()), (56, (0x8000,)), (157, (1,)), (231, ()),
)  # fmt: skip
_SENDMSG, _PRLIMIT64 = (46, ()), (302, ())
# What an init calls from `ready` on.
_TO_WAIT = (_READ, _WRITE, _CLOSE, _EXECVE)
# What the helper and its child call from the last `clone` on, which makes the child be seen.
_TO_BE_SEEN = (*_TO_WAIT, _CLONE_PARENT, _SETSID, _PDEATHSIG, _EXIT_GROUP)


def prepare(plan: Plan, process: Process) -> None:
    """Adds the steps that need rights of the host."""
    if "oomScoreAdj" in process:
        plan.add("oom_score_adj", process["oomScoreAdj"])
    for limit in process.get("rlimits", ()):
        plan.add("hard", limit["type"], RLIMITS.index(limit["type"]), _unsigned(limit["hard"]))


def set_labels(plan: Plan, process: Process) -> None:
    """Adds the steps that set the security modules' labels for exec, in the host's procfs."""
    if profile := label_of(process, "apparmorProfile"):
        plan.add("apparmor", profile)
    if label := label_of(process, "selinuxLabel"):
        plan.add("selinux", label)


def become_user(plan: Plan, process: Process, *, schedule: bool = True) -> None:
    """Adds steps from the container's root to the process' user, who keeps capabilities for now."""
    user = process["user"]
    plan.add("streams", "", user["uid"])
    if schedule:
        _schedule(plan, process)
    plan.add("umask", user.get("umask", "-"))
    plan.add("bounding", "", _mask(process.get("capabilities", {}).get("bounding", [])))
    plan.add("cwd", process["cwd"], 0)
    plan.add("user", user["uid"], user["gid"], *user.get("additionalGids", ()))
    plan.add("cwd", process["cwd"], 1)


def find_command(plan: Plan, process: Process) -> None:
    """Adds the step that finds the command, while `create` can still report an error."""
    arguments = process["args"]
    plan.add("command", arguments[0], len(arguments), *arguments, *process.get("env", ()))


class FilterSteps:
    """The seccomp filter of `process`, which holds for the rest of the plan, too.

    So the filter is set as late as possible, but before others can see the process: without its
    filter the process could be taken over. `listener` is the helper's socket for the listener.
    """

    def __init__(self, seccomp: Seccomp, process: Process, listener: int | None) -> None:
        from ringlet.container.seccomp.filter import compile

        self.compiled = compile(seccomp)
        self.process = process
        self.listener = listener if self.compiled.notify else None

    @classmethod
    def of(cls, linux: Linux, process: Process, listener: int | None) -> FilterSteps | None:
        """Returns the configuration's filter; None if it has none."""
        return cls(linux["seccomp"], process, listener) if "seccomp" in linux else None

    def add_to(self, plan: Plan, *, schedules: bool = False) -> None:
        """Adds the steps that set the filter, and drop the right to do so.

        With `schedules`, the right that `schedule_late` needs stays.
        """
        plan.notes += self.compiled.notes
        program = self.compiled.program
        words: list[object] = [self.compiled.flags, len(program) // 8, plan.attach(program)]
        if self.listener is not None:
            words += [self.listener, int(self._allows(_SENDMSG))]
        if self.needs_right:
            plan.add("all_capabilities")
        plan.add("seccomp", "", *words)
        if self.needs_right:
            _set_capabilities(plan, self.process, _FOR_SCHEDULING if schedules else 0)

    @property
    def needs_right(self) -> bool:
        """Returns whether it takes CAP_SYS_ADMIN to set the filter."""
        return not self.process.get("noNewPrivileges", False)

    @property
    def lets_limits_be_set(self) -> bool:
        """Returns whether the filter allows the step `rlimit`."""
        return self._allows(_PRLIMIT64)

    @property
    def lets_a_process_wait(self) -> bool:
        """Returns whether the filter allows everything that an init does from `ready` on."""
        return all(map(self._allows, _TO_WAIT))

    @property
    def lets_a_process_begin(self) -> bool:
        """Returns whether the filter allows everything that is done from the last `clone` on."""
        calls = list(_TO_BE_SEEN)
        if self.process.get("terminal"):
            calls.append(_TIOCSCTTY)
        if self.process.get("rlimits"):
            calls.append(_PRLIMIT64)
        if self.listener is not None:  # a second process, which could send, would be seen
            calls.append(_SENDMSG)
        return all(map(self._allows, calls))

    def _allows(self, call: tuple[int, tuple[int, ...]]) -> bool:
        from ringlet.container.seccomp.filter import allows

        # By `execve` the agent has the listener, and can answer.
        return allows(self.compiled.program, *call, or_asks=call is _EXECVE)


def refuse_late(config: Config, process: Process, filter: FilterSteps, pids: str) -> None:
    """Raises SpecError for a filter that is set late by a process which others could take over.

    Until then this process has no filter, and without no_new_privs it keeps CAP_SYS_ADMIN. A
    process that may trace it (ptrace(2)) has CAP_SYS_PTRACE, in the container's sets or in the sets
    of another container in the PID namespace at `pids`. In a user namespace the helper is `hidden`.
    """
    if has_user_namespace(config):
        return
    from ringlet.container.launch.joined_pids import has_tracer

    joins = any(one["type"] == "pid" and "path" in one for one in config["linux"]["namespaces"])
    takes = joins or filter.needs_right or filter.listener is not None
    given = (config.get("process"), process)
    if takes or any(_may_get(one, "CAP_SYS_PTRACE") for one in given) or has_tracer(pids):
        raise SpecError(
            "linux.seccomp: a process with CAP_SYS_PTRACE could take over one that begins, since "
            "the filter forbids what begins a process, such as clone or setsid, and is set last",
            "allow clone, setsid, prctl, prlimit64, read and write (with a listener: sendmsg), or "
            "add a user namespace",
        )


def _may_get(process: Process | None, capability: str) -> bool:
    sets: Any = {} if process is None else process.get("capabilities", {})
    return any(capability in names for names in sets.values())


def has_user_namespace(config: Config) -> bool:
    """Returns whether the user namespace isn't the host's: it is new, or joined."""
    return any(one["type"] == "user" for one in config.get("linux", {}).get("namespaces", ()))


def refuse_no_pivot(config: Config) -> None:
    """Raises SpecError for a container that could uncover the host's root below its own."""
    if _may_get(config.get("process"), "CAP_SYS_ADMIN"):
        raise SpecError(
            "--no-pivot: with CAP_SYS_ADMIN a process takes its root away, and is in the host's",
            "leave out CAP_SYS_ADMIN, or --no-pivot",
        )


def drop_rights(
    plan: Plan,
    process: Process,
    linux: Linux,
    filter: FilterSteps | None,
    *,
    schedules: bool = False,
) -> None:
    """Drops the last rights, except those that the `filter`, or `schedules`, still needs."""
    _add_memory_policy(plan, linux)
    if "personality" in linux:
        plan.add("personality", "", _PERSONALITIES[linux["personality"]["domain"]])
    kept = _FOR_SCHEDULING if schedules else 0
    if filter and filter.needs_right:
        kept |= _FOR_FILTER
    _set_capabilities(plan, process, kept)
    if process.get("noNewPrivileges", False):
        plan.add("no_new_privs")


def _set_capabilities(plan: Plan, process: Process, kept: int = 0) -> None:
    sets = process.get("capabilities", {})  # without the field, the process has no capabilities
    plan.add(
        "capabilities",
        "",
        _mask(sets.get("effective", [])) | kept,
        _mask(sets.get("permitted", [])) | kept,
        _mask(sets.get("inheritable", [])),
        _mask(sets.get("ambient", [])),
    )


def set_limits(plan: Plan, process: Process) -> None:
    """Sets the process's limits, which could be too tight for the steps before."""
    for limit in process.get("rlimits", ()):
        number, soft, hard = RLIMITS.index(limit["type"]), limit["soft"], limit["hard"]
        plan.add("rlimit", limit["type"], number, _unsigned(soft), _unsigned(hard))


def is_not_inherited(process: Process) -> bool:
    """Returns whether a child of this process would not inherit its scheduling: sched(7)."""
    scheduler = process.get("scheduler")
    return scheduler is not None and (
        scheduler["policy"] == "SCHED_DEADLINE"
        or "SCHED_FLAG_RESET_ON_FORK" in scheduler.get("flags", ())
    )


def schedule_late(plan: Plan, process: Process, late: FilterSteps | None) -> None:
    """Sets the scheduling in the process itself, then drops the right that was kept for this."""
    _schedule(plan, process)
    _set_capabilities(plan, process, _FOR_FILTER if late and late.needs_right else 0)


def _schedule(plan: Plan, process: Process) -> None:
    scheduler = process.get("scheduler")
    if scheduler is not None:
        flags = sum(1 << SCHEDULER_FLAGS.index(flag) for flag in scheduler.get("flags", ()))
        plan.add(
            "scheduler",
            "",
            SCHEDULER_POLICIES.index(scheduler["policy"]),
            flags,
            scheduler.get("nice", 0),
            scheduler.get("priority", 0),
            scheduler.get("runtime", 0),
            scheduler.get("deadline", 0),
            scheduler.get("period", 0),
        )
    priority = process.get("ioPriority")
    if priority is not None:
        number = IO_CLASSES.index(priority["class"]) + 1
        plan.add("io_priority", "", number << _IO_CLASS_SHIFT | priority["priority"])


def _add_memory_policy(plan: Plan, linux: Linux) -> None:
    policy = linux.get("memoryPolicy")
    if policy is not None:
        mode, nodes = policy["mode"], policy.get("nodes")
        flags = sum(MEMORY_POLICY_FLAGS[name] for name in set(policy.get("flags", ())))
        words = _words(nodes) if nodes else []
        plan.add("memory_policy", mode, MEMORY_POLICIES.index(mode) | flags, *words)


def set_affinity(plan: Plan, process: Process, when: Literal["initial", "final"]) -> None:
    """Sets execCPUAffinity, `initial` or `final`: before the process is in its cgroup, or after."""
    affinity = process.get("execCPUAffinity", {}).get(when)
    if affinity:
        plan.add("affinity", affinity, *_words(affinity))


def _words(cpus: str) -> list[int]:
    """Returns a list such as 0-3,7 as words of 64 bits, a bit for each processor or memory node."""
    mask = 0
    for cpu in parse_numbers(cpus):
        mask |= 1 << cpu
    words = [mask & (1 << 64) - 1]
    while mask := mask >> 64:
        words.append(mask & (1 << 64) - 1)
    return words


def _mask(names: list[str]) -> int:
    """Returns capabilities as bits. One that this kernel doesn't know can't be granted."""
    return sum(1 << CAPABILITIES.index(name) for name in set(names) if name in CAPABILITIES)


def lacking_capabilities(config: Config, process: Process) -> str | None:
    """Returns a warning of capabilities that can't be granted, as config.md demands."""
    sets: Any = process.get("capabilities", {})
    named = {name for names in sets.values() for name in names}
    if not named:
        return None
    namespaces = config.get("linux", {}).get("namespaces", ())
    grantable = _grantable(any(one["type"] == "user" for one in namespaces))
    lacking = sorted(name for name in named if not _mask([name]) & grantable)
    if not lacking:
        return None
    listed = ", ".join(name if name in CAPABILITIES else shown(name) for name in lacking[:_SHOWN])
    more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
    return f"capabilities that can't be granted here are left out: {listed}{more}"


def _grantable(owns_user_namespace: bool) -> int:
    """Returns all capabilities of the kernel in a user namespace, else those of this process."""
    if owns_user_namespace:
        with open("/proc/sys/kernel/cap_last_cap") as file:
            return (2 << int(file.read())) - 1
    with open("/proc/self/status") as file:
        sets = [int(line[7:], 16) for line in file if line.startswith(("CapPrm:", "CapBnd:"))]
    return sets[0] & sets[1]


def _unsigned(value: int) -> int:
    return value & (1 << 64) - 1
