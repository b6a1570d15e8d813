"""`ringlet compare` where all ways can be gone: the whole set of measures, few runs of each."""

import json
import subprocess
from pathlib import Path

import pytest

from ringlet.compare.lab import ringlet_command

pytestmark = pytest.mark.nested


def test_all_is_measured_of_a_linux_vm_and_crun_too(cloud_kernel: Path) -> None:
    command = [*ringlet_command(), "compare", "--kernel", str(cloud_kernel), "--json"]
    command += ["--runs", "1", "--instances", "2", "--with", "crun"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    ways = {way["name"]: way.get("error") for way in report["ways"]}
    assert ways == dict.fromkeys(["process", "container", "tiny-vm", "linux-vm", "crun"])
    assert report["host"]["kvm"] == "hardware"
    cells = {row["name"]: row["ways"]["linux-vm"] for row in report["measures"]}
    assert [name for name, cell in cells.items() if cell.get("error")] == []
    cells = {row["name"]: row["ways"]["crun"] for row in report["measures"]}
    lacks = {"exit", "inside-first-instruction", "inside-first-output", "inside-end"}
    assert {name for name, cell in cells.items() if cell.get("error")} == lacks
