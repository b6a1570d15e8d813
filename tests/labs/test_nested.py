"""`ringlet lab check` in an emulated machine: where no container can be made; and its errors."""

import json
import shutil
from pathlib import Path

import pytest

from ..cli.command import refused, run, with_mount

pytestmark = [
    pytest.mark.nested_host,
    pytest.mark.needs_root,
    pytest.mark.needs_qemu,
    pytest.mark.needs_nested_kernel,
]
SOLUTIONS = Path(__file__).parent / "solutions"
_LONG = 600  # seconds


def test_where_no_container_can_be_made_an_emulated_machine_checks(tmp_path: Path) -> None:
    """As in a course system: what Gradescope shows is written there, too."""
    run("lab", "start", "1", cwd=tmp_path)
    shutil.copy(SOLUTIONS / "lab01_first_vm/reference/vm.py", tmp_path / "lab1")
    done = run(
        *("lab", "check", "1", "--gradescope", "results.json"),
        cwd=tmp_path,
        before=with_mount("mount -t tmpfs none /sys/fs/cgroup"),
        timeout=_LONG,
    )
    assert done.returncode == 0, done.stderr
    assert "note: no container can be made here (" in done.stderr
    where = "an emulated machine with a hardware KVM"
    assert done.stdout.endswith(f"100 of 100 points, on {where}\n")
    results = json.loads((tmp_path / "results.json").read_text())
    assert (results["score"], results["output"]) == (100, f"ran on {where}")


def test_where_no_machine_can_be_had_the_reason_is_told(tmp_path: Path) -> None:
    run("lab", "start", "1", cwd=tmp_path)
    path = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    done = run("lab", "check", "1", "--on", "nested", cwd=tmp_path, env=path)
    expected = "the checks need an emulated machine: QEMU (qemu-system-x86_64) isn't installed"
    assert refused(done) == expected
    assert "ringlet nested --setup" in done.stderr
