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
_SHOWN = 8  # capabilities, in a message

# The system calls that the helper makes after `drop_rights`, by x86-64's numbers, with those
# arguments that a filter could check: read, write, open, close, fstat, getuid, setsid,
# ioctl(TIOCSCTTY), prlimit64, stat, faccessat, prctl(PR_SET_PDEATHSIG), clone,
# execve, exit_group.
_CLONE_PARENT = 0x8000
_TO_BEGIN = (
    (0, ()), (1, ()), (257, ()), (3, ()), (5, ()), (102, ()), (112, ()), (16, (0, 0x540E)),
    (302, ()), (262, ()), (269, ()), (157, (1,)), (56, (_CLONE_PARENT,)), (59, ()),
    (231, ()),
)  # fmt: skip


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
    """The container's seccomp filter. `says` are the step's words for the filter's listener."""

    def __init__(self, seccomp: Seccomp, says: list[object] | None) -> None:
        from ringlet.container.seccomp.filter import compile

        self.compiled = compile(seccomp)
        self.says = says if says is not None and self.compiled.notify else []

    @classmethod
    def of(cls, linux: Linux, says: list[object] | None) -> FilterSteps | None:
        """Returns the configuration's filter; None if it has none."""
        return cls(linux["seccomp"], says) if "seccomp" in linux else None

    def add_to(self, plan: Plan) -> None:
        """Adds the step that sets the filter."""
        plan.notes += self.compiled.notes
        program = self.compiled.program
        offset = plan.attach(program)
        plan.add("seccomp", "", self.compiled.flags, len(program) // 8, offset, *self.says)


def lets_a_process_begin(filter: FilterSteps | None) -> bool:
    """Returns whether `filter` allows everything that the helper does from here on.

    If so, the filter can be set before there is a process that others could look into. Otherwise
    that process itself sets the filter, as the very last step.
    """
    from ringlet.container.seccomp.filter import allows

    return filter is not None and all(
        allows(filter.compiled.program, number, arguments) for number, arguments in _TO_BEGIN
    )


def refuse_late(config: Config, process: Process) -> None:
    """Raises SpecError for a filter that is set late by a process which others could take over.

    Until then this process has no filter, and without no_new_privs it keeps CAP_SYS_ADMIN. A
    process that may trace it (ptrace(2)) has CAP_SYS_PTRACE, in the container's sets or in the sets
    of the container whose PID namespace is joined. In a user namespace the helper is `hidden`.
    """
    if has_user_namespace(config):
        return
    joins = any(one["type"] == "pid" and "path" in one for one in config["linux"]["namespaces"])
    if joins or any(_may_get(one, "CAP_SYS_PTRACE") for one in (config.get("process"), process)):
        raise SpecError(
            "linux.seccomp: a process with CAP_SYS_PTRACE could take over one that begins, since "
            "the filter has a listener, or forbids what the helper does, and so is set last",
            "leave out CAP_SYS_PTRACE and process ids that are joined, or add a user namespace",
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
    late: FilterSteps | None,
    schedules: bool = False,
) -> None:
    """Drops the last rights, except those that a filter set `late`, or `schedules`, still needs."""
    _add_memory_policy(plan, linux)
    no_new_privs = process.get("noNewPrivileges", False)
    if "personality" in linux:
        plan.add("personality", "", _PERSONALITIES[linux["personality"]["domain"]])
    if filter and not no_new_privs:  # to set the filter takes a right then
        plan.add("all_capabilities")
        filter.add_to(plan)
    kept = 0
    if late and not filter and not no_new_privs:
        kept |= _mask(["CAP_SYS_ADMIN"])
    if schedules:
        kept |= _mask(["CAP_SYS_NICE"])
    _set_capabilities(plan, process, kept)
    if no_new_privs:
        plan.add("no_new_privs")
        if filter:
            filter.add_to(plan)


def filter_late(plan: Plan, process: Process, filter: FilterSteps) -> None:
    """Sets the filter as late as possible, since it holds for the rest of the plan, too."""
    if process.get("noNewPrivileges", False):
        filter.add_to(plan)
        return
    plan.add("all_capabilities")
    filter.add_to(plan)
    _set_capabilities(plan, process)


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


def schedule_late(plan: Plan, process: Process, *, keep_for_filter: bool) -> None:
    """Sets the scheduling in the process itself, then drops the right that was kept for this."""
    _schedule(plan, process)
    _set_capabilities(plan, process, _mask(["CAP_SYS_ADMIN"]) if keep_for_filter else 0)


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
