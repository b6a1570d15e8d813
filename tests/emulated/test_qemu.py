"""QEMU's options, and that its process goes with us."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ringlet.emulated.installed_kernel import InstalledKernel
from ringlet.emulated.nested_config import NestedConfig
from ringlet.emulated.qemu import INSTALL, Qemu, arguments, find_qemu
from ringlet.errors import RingletError

from ..cli.command import ENVIRONMENT, LONG

KERNEL = InstalledKernel(Path("/boot/vmlinuz-1"), Path("/lib/modules/1"))


def test_ports_and_the_share_have_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "a,b"
    folder.mkdir()
    config = NestedConfig(["true"], share=str(folder), cpus=1, memory=1 << 30)
    options = arguments(config, KERNEL, 3, 4, {"control": 5})
    assert "virtserialport,chardev=control,name=ringlet.control" in options
    assert "socket,id=control,fd=5" in options
    (share,) = (option for option in options if "a,,b" in option)
    assert share.endswith("readonly=off")
    (root,) = (option for option in options if "path=/," in option)
    assert root.endswith("readonly=on")
    assert options[options.index("-m") + 1] == "1024M"


def test_missing_program_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nosuch")
    with pytest.raises(RingletError, match="isn't installed") as caught:
        find_qemu()
    assert caught.value.hint == INSTALL
    with pytest.raises(RingletError, match="/nosuch/qemu"):
        find_qemu("/nosuch/qemu")


def test_closed_it_has_ended() -> None:
    with Qemu("sh", ["-c", "echo $$ >&2; exec sleep 1000"], []) as qemu:
        pid = _its_pid(qemu)
    assert not os.path.exists(f"/proc/{pid}")


def _its_pid(qemu: Qemu) -> int:
    os.set_blocking(qemu.errors, True)
    return int(os.read(qemu.errors, 100))


PARENT = """
import os
from ringlet.emulated.qemu import Qemu
qemu = Qemu("sh", ["-c", "echo $$ >&2; exec sleep 1000"], [])
os.set_blocking(qemu.errors, True)
print(os.read(qemu.errors, 100).decode(), flush=True)
os.kill(os.getpid(), 9)
"""


def test_it_ends_with_a_parent_that_is_killed() -> None:
    parent = subprocess.run(
        [sys.executable, "-c", PARENT], env=ENVIRONMENT, capture_output=True, timeout=LONG
    )
    assert parent.returncode == -signal.SIGKILL
    pid = int(parent.stdout)
    deadline = time.monotonic() + LONG
    while _runs(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False
