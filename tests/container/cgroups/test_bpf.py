import os
import subprocess
from collections.abc import Iterator

import pytest

from ringlet.container.cgroups import Cgroups
from ringlet.container.cgroups.bpf import replace_filter
from ringlet.container.cgroups.device_filter import compile
from ringlet.container.cgroups.devices import ALL, DEFAULT, Rule

KMSG: Rule = (True, "c", 1, 11, "r")
NO_URANDOM: Rule = (False, "c", 1, 9, "r")


@pytest.fixture
def folder() -> Iterator[str]:
    mounts = [it.mount for it in Cgroups.find().hierarchies if it.version == 2]
    if not mounts:
        pytest.skip("no cgroup version 2")
    folder = f"{mounts[0]}/ringlet-test-bpf"
    os.mkdir(folder)
    yield folder
    os.rmdir(folder)


def opened(folder: str) -> list[str]:
    script = (
        f"echo 0 >{folder}/cgroup.procs; "
        "for it in null urandom kmsg; do (: </dev/$it) 2>/dev/null && echo $it; done"
    )
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True).stdout.split()


@pytest.mark.needs_cgroups
def test_one_filter_takes_the_place_of_the_other(folder: str, no_leak: None) -> None:
    for rules, allowed in (
        (DEFAULT, ["null", "urandom"]),
        ([*DEFAULT, KMSG], ["null", "urandom", "kmsg"]),
        ([*DEFAULT, KMSG, NO_URANDOM], ["null", "kmsg"]),
        ([(True, "a", ALL, ALL, "rwm")], ["null", "urandom", "kmsg"]),
        ([], []),
    ):
        replace_filter(folder, compile(rules))  # type: ignore[arg-type]
        assert opened(folder) == allowed


@pytest.mark.needs_cgroups
def test_a_program_that_the_verifier_refuses_leaves_the_filter(folder: str) -> None:
    replace_filter(folder, compile(DEFAULT))
    with pytest.raises(OSError, match="Invalid argument"):
        replace_filter(folder, compile(DEFAULT)[:-8])
    assert opened(folder) == ["null", "urandom"]
