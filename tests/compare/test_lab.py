"""The folder that a comparison works in."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from ringlet.compare import lab as module
from ringlet.compare.lab import DISK_BYTES, Lab, Settings, ringlet_command
from ringlet.errors import RingletError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where labs are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("no_leak")
def test_it_has_what_the_ways_share_and_is_gone_after(folder: Path) -> None:
    closed = []
    with Lab() as lab:
        lab.on_close(lambda: closed.append(lab.disk.exists()))
        assert sorted(path.name for path in lab.rootfs.iterdir()) == [
            *("dev", "disk", "proc", "sys", "tmp", "work")
        ]
        assert lab.disk.stat().st_size == DISK_BYTES
        assert lab.folder.stat().st_mode & 0o777 == 0o755
        assert subprocess.run([lab.rootfs / "work", "start"], capture_output=True).returncode == 0
        assert 1e8 < lab.tsc_hz < 1e11
        assert lab.settings == Settings()
    assert closed == [True]
    assert os.listdir(folder) == []


@pytest.mark.usefixtures("no_leak")
@pytest.mark.parametrize("script", [None, "exit 1", "echo nothing"])
def test_without_a_workload_that_runs_there_is_none(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    script: str | None,
) -> None:
    guests = tmp_path_factory.mktemp("guests")
    monkeypatch.setattr(module, "FOLDER", str(guests))
    if script is not None:
        (guests / "work").write_text(f"#!/bin/sh\n{script}\n")
        (guests / "work").chmod(0o755)
    with pytest.raises(RingletError, match="the workload") as raised:
        Lab()
    assert "make" in raised.value.hint
    assert os.listdir(folder) == []


@pytest.mark.usefixtures("no_leak")
def test_a_folder_that_is_to_be_kept_is_new_and_stays(folder: Path) -> None:
    kept = folder / "kept"
    with Lab(Settings(keep=str(kept))) as lab:
        assert lab.folder == kept
    assert (kept / "rootfs/work").exists()
    with pytest.raises(RingletError, match="File exists"):
        Lab(Settings(keep=str(kept)))
    assert (kept / "rootfs/work").exists()


def test_the_command_calls_this_very_ringlet() -> None:
    done = subprocess.run([*ringlet_command(), "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "boot" in done.stdout
