"""The nested machine as a host: what the tests here take for granted."""

import os
from pathlib import Path

from ringlet import Machine, MachineConfig


def test_kvm_is_amds_own() -> None:
    assert Path("/sys/module/kvm_amd").is_dir()
    assert "svm" in Path("/proc/cpuinfo").read_text().split()


def test_guests_boot() -> None:
    with Machine(MachineConfig(image="hello", serial="none", timeout=60)) as machine:
        result = machine.run()
    assert (result.reason, result.status) == ("exit-port", 0)


def test_files_can_be_written(tmp_path: Path) -> None:
    written = tmp_path / "file"
    written.write_text("it's in the machine's memory")
    assert os.listdir(tmp_path) == ["file"]
