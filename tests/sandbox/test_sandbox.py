"""A machine and a container have the same life, to a program that knows only `Sandbox`."""

import select
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from ringlet import Container, Machine, MachineConfig, Workload
from ringlet.errors import RingletError
from ringlet.sandbox import Sandbox

from ..container.rootfs import make_rootfs
from ..machine_code import OBEYS, REFUSES, SPIN, exit_with
from ..until import LONG, until


class Kind(NamedTuple):
    """What to make one kind of sandbox of, for each thing that runs in it."""

    make: Callable[[object], Sandbox]
    ends_with_3: object
    works: object  # until it is ended
    obeys: object  # ends when it is asked to
    refuses: object
    listens: Callable[[Sandbox], bool]  # whether `obeys` and `refuses` can be asked


def machine(code: object) -> Sandbox:
    return Machine(MachineConfig(image=code, protocol="flat", serial="none", timeout=LONG))  # type: ignore[arg-type]


def has_said_so(sandbox: Sandbox) -> bool:
    """Its second access to a port is the serial one's, with the power button on by then."""
    return (sandbox.usage().exits or {}).get("port", 0) >= 2


MACHINES = Kind(machine, exit_with(3), SPIN, OBEYS, REFUSES, has_said_so)


def has_a_child(sandbox: Sandbox) -> bool:
    """Which the shell starts behind its trap."""
    return (sandbox.usage().processes or 0) > 1


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Kind:
    rootfs = make_rootfs(tmp_path_factory.mktemp("sandbox") / "rootfs")

    def make(script: object) -> Sandbox:
        config = Workload(rootfs=rootfs, command=["sh", "-c", str(script)], timeout=LONG)
        return Container(config)

    obeys = "trap 'exit 0' TERM; while :; do sleep 0.01; done"
    return Kind(make, "exit 3", "while :; do :; done", obeys, "sleep 100 & wait", has_a_child)


@pytest.fixture(
    params=[
        pytest.param("machines", marks=pytest.mark.needs_kvm),
        pytest.param("containers", marks=[pytest.mark.needs_cgroups, pytest.mark.needs_busybox]),
    ]
)
def kind(request: pytest.FixtureRequest) -> Kind:
    if request.param == "machines":
        return MACHINES
    containers: Kind = request.getfixturevalue("containers")
    return containers


@pytest.fixture
def works(kind: Kind) -> Iterator[Sandbox]:
    with kind.make(kind.works) as sandbox:
        sandbox.start()
        yield sandbox


def is_readable(sandbox: Sandbox, timeout: float) -> bool:
    return select.select([sandbox], [], [], timeout)[0] != []


def used(sandbox: Sandbox) -> float:
    seconds = sandbox.usage().processor
    assert seconds is not None
    return seconds


def test_it_runs_to_its_end(kind: Kind) -> None:
    with kind.make(kind.ends_with_3) as sandbox:
        outcome = sandbox.run()
        assert outcome.status == 3
        assert sandbox.wait() == outcome
        assert is_readable(sandbox, 0)


def test_it_is_started_and_waited_for(works: Sandbox) -> None:
    assert works.wait(0.1) is None
    assert not is_readable(works, 0)
    works.kill()
    assert is_readable(works, LONG)
    outcome = works.wait()
    assert outcome is not None
    assert (outcome.reason, outcome.status) == ("killed", 137)


def test_it_has_a_name_of_its_own(kind: Kind) -> None:
    with kind.make(kind.works) as one, kind.make(kind.works) as other:
        assert one.id
        assert one.id != other.id


def test_it_runs_once(works: Sandbox) -> None:
    with pytest.raises(RingletError, match="run already"):
        works.start()


def test_nobody_waits_for_one_that_never_started(kind: Kind) -> None:
    with (
        kind.make(kind.works) as sandbox,
        pytest.raises(RingletError, match="never started"),
    ):
        sandbox.wait()


def test_it_uses_no_processor_while_it_is_paused(works: Sandbox) -> None:
    until(lambda: used(works) > 0.05)
    works.pause()
    before = used(works)
    time.sleep(0.3)
    assert used(works) < before + 0.1
    works.resume()
    until(lambda: used(works) > before + 0.1)


def test_what_it_used_is_told_at_its_end(works: Sandbox) -> None:
    until(lambda: used(works) > 0.05)
    works.kill()
    outcome = works.wait(LONG)
    assert outcome is not None
    assert outcome.usage.processor is not None
    assert 0.05 < outcome.usage.processor < LONG
    works.close()
    assert works.usage().processor == outcome.usage.processor


def test_stop_asks(kind: Kind) -> None:
    with kind.make(kind.obeys) as sandbox:
        sandbox.start()
        until(lambda: kind.listens(sandbox))
        assert sandbox.stop(LONG).status == 0


def test_stop_ends_what_does_not_obey(kind: Kind) -> None:
    with kind.make(kind.refuses) as sandbox:
        sandbox.start()
        until(lambda: kind.listens(sandbox))
        started = time.monotonic()
        outcome = sandbox.stop(0.3)
        assert time.monotonic() - started >= 0.3
        assert (outcome.reason, outcome.status > 128) == ("stopped", True)


def test_stop_after_the_end_tells_how_it_ended(kind: Kind) -> None:
    with kind.make(kind.ends_with_3) as sandbox:
        outcome = sandbox.run()
        assert sandbox.stop(LONG) == outcome


def test_close_ends_it(kind: Kind, no_leak: None) -> None:
    sandbox = kind.make(kind.works)
    sandbox.start()
    sandbox.close()
