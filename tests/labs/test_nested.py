"""`ringlet lab check` in an emulated machine gives the verdicts that it gives here."""

import json
import shutil
from pathlib import Path

import pytest

from ..cli.command import run

pytestmark = [
    pytest.mark.nested_host,
    pytest.mark.needs_root,
    pytest.mark.needs_qemu,
    pytest.mark.needs_nested_kernel,
    pytest.mark.needs_gcc,
]
SOLUTIONS = Path(__file__).parent / "solutions"


def test_verdicts_are_the_same_in_an_emulated_machine(tmp_path: Path) -> None:
    run("lab", "start", "3", cwd=tmp_path)
    shutil.copy(SOLUTIONS / "lab03_long_mode/reference/guest.S", tmp_path / "lab3")
    guest = tmp_path / "lab3/guest.S"
    text = guest.read_text()
    assert "        finish  0\n" in text
    guest.write_text(text.replace("        finish  0\n", "        finish  3\n"))
    done = run("lab", "check", "3", "--json", "--on", "nested", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    grades = json.loads(done.stdout)
    assert (grades["earned"], grades["points"]) == (95, 100)
    assert grades["where"] == "an emulated machine with a hardware KVM"
    assert grades["notes"] == []


def test_the_grader_s_errors_come_back(tmp_path: Path) -> None:
    run("lab", "start", "1", cwd=tmp_path)
    path = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    done = run("lab", "check", "1", "--on", "nested", cwd=tmp_path, env=path)
    assert done.returncode == 125
    assert "the emulated machine gave no grades: " in done.stderr
