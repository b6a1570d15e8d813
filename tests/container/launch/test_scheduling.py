"""How a container's processes are scheduled, also where no child could inherit it.

Source: sched(7), "Deadline scheduling" and "The reset-on-fork flag".
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ringlet.container.launch import launch
from ringlet.container.launch.description import Execution
from ringlet.container.launch.helper import Launched
from ringlet.container.spec.config_json import check
from ringlet.container.state import HostProcess

from ..box import Box

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox]

MS = 1_000_000  # nanoseconds
DEADLINE = {
    "policy": "SCHED_DEADLINE",
    "runtime": 10 * MS,
    "deadline": 20 * MS,
    "period": 30 * MS,
}
RESET = {"policy": "SCHED_BATCH", "nice": 19, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}
SLEEPS = ["sleep", "1000"]


def seccomp(*names: str) -> Any:
    """A filter without these. `exec` needs `clone`: without it, the filter is set last."""
    rule = {"names": list(names), "action": "SCMP_ACT_ERRNO"}
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}


EARLY, LATE = seccomp("acct"), seccomp("clone")


def scheduling(pid: int) -> str:
    """What chrt(1) calls it, with the times of SCHED_DEADLINE."""
    shown = subprocess.run(["chrt", "-p", str(pid)], capture_output=True, text=True, check=True)
    values = re.findall(r"(?:policy|runtime/deadline/period parameters): (\S+)", shown.stdout)
    return " ".join(values)


def rights(pid: int) -> set[int]:
    """The capabilities that it has or can take, each set as a mask."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {int(line.split()[1], 16) for line in lines if re.match("Cap(Inh|Prm|Eff|Amb)", line)}


def filters(pid: int) -> bool:
    return "\nSeccomp:\t2\n" in Path(f"/proc/{pid}/status").read_text()


def execute(box: Box, made: Launched, **process: Any) -> Launched:
    came = launch.execute(
        Execution(HostProcess(made.pid), check(box.config), {**box.process, **process}, cgroup=None)
    )
    box.running.append(came)
    return came


def join_pids(box: Box, first: Launched, *kinds: str) -> None:
    """The next container has these namespaces of the first one."""
    for one in box.linux["namespaces"]:
        if one["type"] in kinds:
            one["path"] = f"/proc/{first.pid}/ns/{one['type']}"
    box.folder = box.folder.with_name("two")
    box.folder.mkdir()


def test_a_container_has_the_times_of_its_deadlines(box: Box) -> None:
    box.process.update(scheduler=DEADLINE, args=SLEEPS)
    made = box.create()
    assert rights(made.pid) == {0}
    box.start()
    assert scheduling(made.pid) == "SCHED_DEADLINE 10000000/20000000/30000000"


@pytest.mark.parametrize(("filter", "no_new_privs"), [(EARLY, True), (EARLY, False), (LATE, True)])
def test_so_has_one_more_process(box: Box, filter: Any, no_new_privs: bool) -> None:
    box.linux["seccomp"] = filter
    box.process.update(args=SLEEPS, noNewPrivileges=no_new_privs)
    made = box.create()
    box.start()
    came = execute(box, made, scheduler=DEADLINE)
    assert scheduling(came.pid) == "SCHED_DEADLINE 10000000/20000000/30000000"
    assert scheduling(made.pid) == "SCHED_OTHER"
    assert rights(came.pid) == {0}
    assert filters(came.pid)


@pytest.mark.parametrize("no_new_privs", [True, False])
def test_one_that_joins_process_ids_has_them_and_no_right_left_while_it_waits(
    box: Box, no_new_privs: bool
) -> None:
    first = box.create("sleep 1000")
    join_pids(box, first, "pid")
    box.linux["seccomp"] = EARLY
    box.process.update(args=SLEEPS, noNewPrivileges=no_new_privs, scheduler=DEADLINE)
    made = box.create()
    assert scheduling(made.pid) == "SCHED_DEADLINE 10000000/20000000/30000000"
    assert rights(made.pid) == {0}
    box.start()
    assert rights(made.pid) == {0}
    assert filters(made.pid)


def test_with_a_late_filter_no_right_is_left_while_it_waits(box: Box) -> None:
    """Until then CAP_SYS_ADMIN of a user namespace, where nobody can use it: it is hidden."""
    box.new("user")
    first = box.create("sleep 1000")
    join_pids(box, first, "pid", "user")
    del box.linux["uidMappings"], box.linux["gidMappings"]
    box.linux["seccomp"] = LATE
    box.process.update(args=SLEEPS, noNewPrivileges=False, scheduler=RESET)
    made = box.create()
    assert scheduling(made.pid) == "SCHED_BATCH|SCHED_RESET_ON_FORK"
    assert rights(made.pid) == {0}
    assert filters(made.pid)
    box.start()
    assert os.getpriority(os.PRIO_PROCESS, made.pid) == 19
