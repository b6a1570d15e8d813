"""The guest `entropy`, natively: its own driver against our device."""

import io
import re

import pytest

from ringlet import Machine, MachineConfig, Result

pytestmark = [pytest.mark.needs_kvm, pytest.mark.usefixtures("no_leak")]


def boot(*, entropy: bool = True, cmdline: str = "") -> tuple[Result, str]:
    output = io.BytesIO()
    config = MachineConfig(
        image="entropy", entropy=entropy, cmdline=cmdline, serial=output, timeout=60
    )
    with Machine(config) as machine:
        result = machine.run()
        if entropy:
            state = machine.board.find("virtio-entropy")
            assert state is not None
            assert state.state["device"] == {"given": 65536 if cmdline else 32}
    return result, output.getvalue().decode()


@pytest.mark.parametrize("cmdline", ["", "size=65536"])
def test_each_run_reads_other_bytes(cmdline: str) -> None:
    runs = [boot(cmdline=cmdline) for _ in range(2)]
    for result, output in runs:
        assert (result.reason, result.status) == ("exit-port", 0)
        assert re.fullmatch(r"[0-9a-f]{64}\n", output)
    assert runs[0][1] != runs[1][1]


def test_without_the_device_it_says_how_to_get_one() -> None:
    result, output = boot(entropy=False)
    assert result.status == 1
    assert "--entropy" in output
