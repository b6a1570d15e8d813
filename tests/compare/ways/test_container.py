"""The workload in a container of ringlet's."""

from collections.abc import Callable
from contextlib import closing

import pytest

from ringlet.compare.instances import MIB, Request, Unavailable
from ringlet.compare.instances.launched import LaunchedSandbox
from ringlet.compare.instances.streams import Streams
from ringlet.compare.lab import Lab, ringlet_command
from ringlet.compare.ways import Way
from ringlet.container.container import Container
from ringlet.host.workload import Workload

from ...until import until
from .conftest import Check

CALL = len(ringlet_command())


@pytest.fixture
def container(load_way: Callable[[str], Way]) -> Way:
    return load_way("container")


def test_its_command_is_ringlet_run(container: Way, lab: Lab) -> None:
    plain = container.command(Request(["loop", "5"]))[CALL:]
    assert plain == ["run", str(lab.rootfs), "--", "/work", "loop", "5"]
    more = container.command(Request(["wait"], memory=8 * MIB, disk="/a", limited=True))[CALL:]
    assert " ".join(more) == (
        f"run {lab.rootfs} --volume /a:/disk --memory 8M --pids 64 --cpus 1 -- /work wait"
    )


@pytest.mark.parametrize("how", ["spawn", "launch"])
def test_its_name_and_processes_are_its_own(container: Way, how: str) -> None:
    with closing(getattr(container, how)(Request(["see"]))) as run:
        run.read_line()
        seen = set()
        while "interfaces=lo" not in seen:
            seen.add(run.read_line()[1])
    assert {"hostname=ringlet", "pid=1", "processes=1"} <= seen


def test_launched_it_is_created_and_then_started(container: Way) -> None:
    with closing(container.launch(Request(["wait"]))) as run:
        assert list(run.phases()) == ["clone", "mounts", "pivot", "created", "exec"]
        assert len(run.processes()) == 1


def test_spawned_its_processes_are_ringlet_the_guard_and_the_workload(container: Way) -> None:
    with closing(container.spawn(Request(["wait"]))) as run:
        run.read_line()
        until(lambda: len(run.processes()) == 3)  # the guard may come a moment later


def test_one_that_cannot_be_started_leaves_nothing(
    container: Way, lab: Lab, leaves_nothing: Callable[[], Check]
) -> None:
    check = leaves_nothing()
    config = Workload(rootfs=lab.rootfs, command=["/absent"])
    with pytest.raises(Unavailable, match="/absent"):
        LaunchedSandbox(lambda stdio: Container(config, stdio=stdio), Streams(["it"]), lambda _: {})
    check()
