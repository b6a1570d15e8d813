"""The part of a plan that is about the process: who it is, and what it may do.

Source: OCI Runtime Specification 1.2, config.md ("POSIX process", "Linux Process").
"""

from ringlet.container.labels import label_of
from ringlet.container.spec_check import shown
from ringlet.container.spec_names import (
    CAPABILITIES,
    IO_CLASSES,
    RLIMITS,
    SCHEDULER_FLAGS,
    SCHEDULER_POLICIES,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from ringlet.container.plan import Plan
    from ringlet.container.spec_types import Config, Linux, Process

_PERSONALITIES = {"LINUX": 0, "LINUX32": 8}
_IO_CLASS_SHIFT = 13
_SHOWN = 8  # capabilities, in a message


def prepare(plan: "Plan", process: "Process") -> None:
    """What takes rights of the host."""
    if "oomScoreAdj" in process:
        plan.add("oom_score_adj", process["oomScoreAdj"])
    for limit in process.get("rlimits", ()):
        plan.add("hard", limit["type"], RLIMITS.index(limit["type"]), _unsigned(limit["hard"]))


def become_user(plan: "Plan", process: "Process") -> None:
    """From the container's root to the process' user, who keeps capabilities for the moment."""
    user = process["user"]
    plan.add("streams", "", user["uid"])
    if profile := label_of(process, "apparmorProfile"):
        plan.add("apparmor", profile)
    if label := label_of(process, "selinuxLabel"):
        plan.add("selinux", label)
    _schedule(plan, process)
    plan.add("umask", user.get("umask", "-"))
    plan.add("bounding", "", _mask(process.get("capabilities", {}).get("bounding", [])))
    plan.add("cwd", process["cwd"], 0)
    plan.add("user", user["uid"], user["gid"], *user.get("additionalGids", ()))
    plan.add("cwd", process["cwd"], 1)


def find_command(plan: "Plan", process: "Process") -> None:
    """What is run, found while `create` can still tell."""
    arguments = process["args"]
    plan.add("command", arguments[0], len(arguments), *arguments, *process.get("env", ()))


def finish(
    plan: "Plan", process: "Process", linux: "Linux", listener: tuple[int, list[str]] | None
) -> None:
    """The last rights go.

    `listener` is the socket for seccomp's notifications, and what is said there: the parts between
    which the process id belongs.
    """
    no_new_privs = process.get("noNewPrivileges", False)
    if not no_new_privs:  # then it takes a right to set a filter
        plan.add("all_capabilities")
        _filter(plan, linux, listener)
    if "personality" in linux:
        plan.add("personality", "", _PERSONALITIES[linux["personality"]["domain"]])
    for limit in process.get("rlimits", ()):
        number, soft, hard = RLIMITS.index(limit["type"]), limit["soft"], limit["hard"]
        plan.add("rlimit", limit["type"], number, _unsigned(soft), _unsigned(hard))
    sets = process.get("capabilities", {})  # who names none has none
    plan.add(
        "capabilities",
        "",
        _mask(sets.get("effective", [])),
        _mask(sets.get("permitted", [])),
        _mask(sets.get("inheritable", [])),
        _mask(sets.get("ambient", [])),
    )
    if no_new_privs:
        plan.add("no_new_privs")
        _filter(plan, linux, listener)


def _filter(plan: "Plan", linux: "Linux", listener: tuple[int, list[str]] | None) -> None:
    if "seccomp" not in linux:
        return
    from ringlet.container.seccomp import compile

    compiled = compile(linux["seccomp"])
    offset = plan.attach(compiled.program)
    words: list[object] = []
    if listener is not None and compiled.notify:
        words = [listener[0], *listener[1]]
    plan.add("seccomp", "", compiled.flags, len(compiled.program) // 8, offset, *words)


def _schedule(plan: "Plan", process: "Process") -> None:
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


def set_affinity(plan: "Plan", process: "Process", when: 'Literal["initial", "final"]') -> None:
    """execCPUAffinity, `initial` or `final`: before it is in its cgroup, and after."""
    affinity = process.get("execCPUAffinity", {}).get(when)
    if affinity:
        plan.add("affinity", affinity, *_words(affinity))


def _words(cpus: str) -> list[int]:
    """A list such as 0-3,7 as 64 processors a word."""
    mask = 0
    for part in cpus.split(","):
        first, _, last = part.partition("-")
        for cpu in range(int(first), int(last or first) + 1):
            mask |= 1 << cpu
    words = [mask & (1 << 64) - 1]
    while mask := mask >> 64:
        words.append(mask & (1 << 64) - 1)
    return words


def _mask(names: list[str]) -> int:
    """The set as bits. What this kernel doesn't know can't be granted."""
    return sum(1 << CAPABILITIES.index(name) for name in set(names) if name in CAPABILITIES)


def lacking_capabilities(config: "Config", process: "Process") -> str | None:
    """A warning of those that it names and that can't be granted, as config.md wants it."""
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
    """In a user namespace all that the kernel has; else what this process has itself."""
    if owns_user_namespace:
        with open("/proc/sys/kernel/cap_last_cap") as file:
            return (2 << int(file.read())) - 1
    with open("/proc/self/status") as file:
        sets = [int(line[7:], 16) for line in file if line.startswith(("CapPrm:", "CapBnd:"))]
    return sets[0] & sets[1]


def _unsigned(value: int) -> int:
    return value & (1 << 64) - 1
