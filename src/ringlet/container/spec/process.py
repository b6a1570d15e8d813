"""Checks `process` and `hooks` of config.json.

Source: OCI Runtime Specification 1.3, config.md, "Process" and "POSIX-platform Hooks";
setrlimit(2), sched_setattr(2), proc_pid_oom_score_adj(5).
"""

from __future__ import annotations

from ringlet.container.spec.checkers import (
    UINT16,
    UINT64,
    FieldError,
    absolute,
    array,
    flag,
    integer,
    one_of,
    record,
    shown,
    text,
    unique,
)
from ringlet.container.spec.names import (
    CAPABILITY_SETS,
    HOOKS,
    IO_CLASSES,
    RLIMITS,
    SCHEDULER_FLAGS,
    SCHEDULER_POLICIES,
)
from ringlet.container.spec.resources import cpu_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ringlet.container.spec.types import Process, Rlimit, Scheduler

ID = integer(0, (1 << 32) - 2)  # of a user or group; to the kernel the next number is no ID
_MIN_RUNTIME = 1024  # nanoseconds: the kernel accepts no shorter time for SCHED_DEADLINE
_MAX_TIMEOUT = (1 << 31) // 1000  # seconds: the longest time that poll(2) can wait


def variable(value: object) -> str:
    """Checks for a variable of the environment: NAME=VALUE."""
    if (pair := text(value)).find("=") < 1:
        raise FieldError(f"{shown(pair)} is not NAME=VALUE", "give a name and, if empty, a value")
    return pair


def _soft_below_hard(limit: Rlimit) -> None:
    if limit["soft"] > limit["hard"]:
        raise FieldError(
            f"soft {limit['soft']} is above hard {limit['hard']}", "raise hard", "soft"
        )


def _of_the_policy(scheduler: Scheduler) -> None:
    """Checks that the scheduler has the fields that its policy needs, and no others."""
    policy = scheduler["policy"]
    realtime = policy in ("SCHED_FIFO", "SCHED_RR")
    if bool(scheduler.get("priority")) != realtime:
        why, hint = (
            (f"{policy} has none but 0", "leave it out, or use SCHED_FIFO or SCHED_RR")
            if not realtime
            else (f"{policy} needs one", "give it from 1 to 99")
        )
        raise FieldError(why, hint, "priority")
    runtime, deadline, period = (
        scheduler.get("runtime", 0),
        scheduler.get("deadline", 0),
        scheduler.get("period", 0),
    )
    if policy != "SCHED_DEADLINE":
        if runtime or deadline or period:
            raise FieldError(
                f"runtime, deadline and period are not {policy}'s", "they are SCHED_DEADLINE's"
            )
    elif max(deadline, period) >= 1 << 63 or not _MIN_RUNTIME <= runtime <= deadline <= (
        period or deadline
    ):
        raise FieldError(
            f"runtime {runtime}, deadline {deadline}, period {period} don't go together",
            f"each is at most the next, and runtime is at least {_MIN_RUNTIME}",
        )


_RLIMITS = array(
    record(
        {"type": one_of("limit", RLIMITS), "soft": UINT64, "hard": UINT64},
        rules=(_soft_below_hard,),
    ),
    (unique("type"),),
)
_SCHEDULER = record(
    {"policy": one_of("policy", SCHEDULER_POLICIES)},
    {
        "nice": integer(-20, 19),
        "priority": integer(0, 99),
        "flags": array(one_of("flag", SCHEDULER_FLAGS)),
        "runtime": UINT64,
        "deadline": UINT64,
        "period": UINT64,
    },
    (_of_the_policy,),
)
_PROCESS = record(
    {"cwd": absolute, "args": array(text, least=1)},
    {
        "user": record(
            {"uid": ID, "gid": ID},
            {"umask": integer(0, 0o777), "additionalGids": array(ID, most=65536)},
        ),
        "env": array(variable),
        "terminal": flag,
        "consoleSize": record({"height": UINT16, "width": UINT16}),  # the ranges of struct winsize
        "rlimits": _RLIMITS,
        "capabilities": record({}, dict.fromkeys(CAPABILITY_SETS, array(text))),
        "noNewPrivileges": flag,
        "oomScoreAdj": integer(-1000, 1000),
        "scheduler": _SCHEDULER,
        "ioPriority": record({"class": one_of("class", IO_CLASSES), "priority": integer(0, 7)}),
        "execCPUAffinity": record({}, {"initial": cpu_list, "final": cpu_list}),
        "apparmorProfile": text,
        "selinuxLabel": text,
    },
)


def process(value: object) -> Process:
    """Checks `process`; returns it with a user, which is root if `process` names none."""
    if isinstance(value, dict) and value.get("terminal") in (None, False):
        value = {name: field for name, field in value.items() if name != "consoleSize"}
    known: Process = _PROCESS(value)
    known.setdefault("user", {"uid": 0, "gid": 0})
    return known


_HOOK = record(
    {"path": absolute},
    {"args": array(text), "env": array(variable), "timeout": integer(1, _MAX_TIMEOUT)},
)
hooks = record({}, dict.fromkeys(HOOKS, array(_HOOK)))
