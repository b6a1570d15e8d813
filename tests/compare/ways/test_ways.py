"""What holds for every way, whether it is spawned or launched: the contract of `Instance`."""

import os
import time
from collections.abc import Callable
from contextlib import closing, suppress

import pytest

from ringlet.compare.instances import Instance, Request, Unavailable
from ringlet.compare.instances.processes import tree
from ringlet.compare.lab import Lab
from ringlet.compare.ways import DEFAULT, OPTIONAL, Way, find, load

from ...until import until
from .conftest import Check

LAUNCHED = ("process", "container", "tiny-vm")

HOW = [
    pytest.param(
        (name, how),
        id=f"{name}, {how}",
        marks=[pytest.mark.needs_kvm] if name in ("tiny-vm", "qemu") else [],
    )
    for name in (*DEFAULT, *OPTIONAL)
    for how in ("spawn", "launch")
    if how == "spawn" or name in LAUNCHED
]

Run = Callable[[Request], Instance]


class Runner:
    """A way, and one of how it runs the workload."""

    def __init__(self, way: Way, how: str) -> None:
        self.way = way
        self.how = how
        self.run: Run = getattr(way, how)

    def lines(self, *words: str, disk: str | None = None, limited: bool = False) -> list[str]:
        """All that the workload says after its first line; it ends well."""
        request = Request(list(words), disk=disk, limited=limited)
        with closing(self.run(request)) as run:
            run.read_line()
            lines = []
            with suppress(Unavailable):
                while True:
                    lines.append(run.read_line()[1])
            assert run.wait() == 0, lines
            return lines


@pytest.fixture(params=HOW)
def runner(request: pytest.FixtureRequest, load_way: Callable[[str], Way]) -> Runner:
    name, how = request.param
    return Runner(load_way(name), how)


def test_its_first_line_comes_after_its_beginning_and_before_its_end(runner: Runner) -> None:
    before = time.monotonic_ns()
    with closing(runner.run(Request(["start"]))) as run:
        at, line = run.read_line()
        assert line.startswith("started first=")
        assert run.ended is None
        assert run.wait() == run.wait() == 0
        assert run.ended is not None
        assert before < run.began < at < time.monotonic_ns()
        assert run.began < run.ended < time.monotonic_ns()
        with pytest.raises(Unavailable):
            run.read_line()


def test_its_phases_are_in_order_and_within_it(runner: Runner) -> None:
    with closing(runner.run(Request(["start"]))) as run:
        at, _ = run.read_line()
        times = list(run.phases().values())
    assert times
    assert times == sorted(times)
    assert run.began < times[0]
    # How long after its first instruction a program is known to run is a matter of luck.
    assert times[-1] < at + 1_000_000_000


def test_a_status_comes_through(runner: Runner) -> None:
    with closing(runner.run(Request(["nonsense"]))) as run:
        assert run.wait() == 2


def test_it_takes_input(runner: Runner) -> None:
    with closing(runner.run(Request(["calls"]))) as run:
        run.read_line()
        with pytest.raises(Unavailable, match="nothing for"):
            run.read_line(0.05)
        run.write(b"x")
        assert run.read_line()[1] == "x=1"
        assert run.wait() == 0


def test_it_has_the_disk(runner: Runner, lab: Lab) -> None:
    for action in ("read", "write", "flush"):
        (line,) = runner.lines(action, runner.way.disk, "4096", "3", disk=str(lab.disk))
        assert line.split()[1] == "bytes=12288"


def test_one_that_waits_is_seen_and_ends_with_close(
    runner: Runner, leaves_nothing: Callable[[], Check]
) -> None:
    check = leaves_nothing()
    with closing(runner.run(Request(["wait"]))) as run:
        run.read_line()
        with pytest.raises(Unavailable, match="has not ended"):
            run.wait(0.05)
        processes = run.processes()
        inside = runner.how == "launch" and runner.way.own_kernel
        assert bool(processes) is not inside
        assert os.getpid() not in processes
        assert sorted(tree(processes)) == sorted(processes)
        assert (run.exits() is not None) is inside
    until(lambda: not tree(processes))  # the guard of a container ends by itself, after it
    check()


@pytest.mark.parametrize("pause", [0, 0.005, 0.03])
def test_it_can_be_closed_at_any_time(
    runner: Runner, leaves_nothing: Callable[[], Check], pause: float
) -> None:
    check = leaves_nothing()
    with closing(runner.run(Request(["wait"]))):
        time.sleep(pause)
    check()


def test_one_that_ended_leaves_nothing(runner: Runner, leaves_nothing: Callable[[], Check]) -> None:
    check = leaves_nothing()
    with closing(runner.run(Request(["start"]))) as run:
        run.wait()
    run.close()  # again is harmless
    check()


def test_several_run_at_once(runner: Runner, leaves_nothing: Callable[[], Check]) -> None:
    check = leaves_nothing()
    runs = [runner.run(Request(["wait"])) for _ in range(3)]
    for run in runs:
        run.read_line()
    processes = [process for run in runs for process in run.processes()]
    assert len(processes) == len(set(processes))
    for run in runs:
        run.close()
    check()


def test_its_processes_are_limited_where_it_limits(runner: Runner) -> None:
    if runner.way.own_kernel:
        pytest.skip("its kernel is its own")
    if runner.way.name in ("process", "bwrap"):
        with pytest.raises(Unavailable, match="no limits"):
            runner.lines("fork", "200", limited=True)
        return
    (line,) = runner.lines("fork", "200", limited=True)
    words = dict(word.split("=") for word in line.split())
    assert 50 < int(words["forks"]) <= 64
    assert int(words["error"]) > 0


@pytest.mark.parametrize("name", [*DEFAULT, *OPTIONAL])
def test_each_says_what_it_is(name: str) -> None:
    way = find(name)
    assert way.name == name
    assert way.title
    assert way.about.endswith(".")


def test_a_name_that_is_none_is_not_found(lab: Lab) -> None:
    with pytest.raises(ModuleNotFoundError):
        load("nothing", lab)
