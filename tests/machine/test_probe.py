from collections.abc import Callable
from pathlib import Path

import pytest

from ringlet.kvm.system import System
from ringlet.machine.probe import unsupported_instruction

pytestmark = [pytest.mark.needs_kvm, pytest.mark.usefixtures("no_leak")]


def test_hardware_kvm_runs_it_all_and_a_software_one_names_the_instruction() -> None:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next(line for line in lines if line.startswith("flags")).split()
    with System() as system:
        instruction = unsupported_instruction(system)
    if {"vmx", "svm"} & set(flags):
        assert instruction is None
    else:
        assert instruction is not None
        assert instruction.split()[0] in {"popcnt", "cmpxchg16b", "xgetbv", "xsave", "xrstor"}


def test_the_answer_stays_the_same() -> None:
    with System() as system:
        assert unsupported_instruction(system) == unsupported_instruction(system)


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_what_is_called_probe_in_the_current_folder_is_not_booted(
    make: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with System() as system:
        instruction = unsupported_instruction(system)
        monkeypatch.chdir(tmp_path)
        make(Path("probe"))
        assert unsupported_instruction(system) == instruction
