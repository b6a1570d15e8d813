"""`ringlet nested` where it can't run, and its set-up. tests/nested_host/ has where it can."""

import os
import pty
from contextlib import suppress
from pathlib import Path

import pytest

from ringlet.emulated.packages import default_package

from .command import ENVIRONMENT, Running, refused, run
from .test_startup import imported


def nothing_there(folder: Path) -> dict[str, str]:
    """An environment without QEMU and without a cache."""
    return ENVIRONMENT | {"PATH": str(folder), "XDG_CACHE_HOME": str(folder)}


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "no command"),
        (["--"], "no command"),
        (["--cpus", "0", "--", "true"], "CPUs"),
        (["--memory", "2X", "--", "true"], "2X"),
        (["--share", "/nosuch", "--", "true"], "/nosuch"),
        (["--setup", "--", "true"], "--setup"),
        (["--setup", "--share", "/"], "--setup"),
        (["--package", "linux-image-amd64"], "--setup"),
        (["--nosuch", "--", "true"], "--nosuch"),
    ],
)
def test_what_it_can_not_do_is_two_lines_and_125(arguments: list[str], what: str) -> None:
    assert what in refused(run("nested", *arguments))


def test_without_qemu_it_says_what_to_install(tmp_path: Path) -> None:
    done = run("nested", "--", "true", env=nothing_there(tmp_path))
    assert "QEMU" in refused(done)
    assert "apt install qemu-system-x86" in done.stderr


def test_without_a_kernel_it_says_how_to_get_one(tmp_path: Path) -> None:
    if any(Path("/boot").glob("vmlinuz-*")):
        pytest.skip("needs a host without a kernel of its own")
    qemu = tmp_path / "qemu-system-x86_64"
    qemu.write_text("#!/bin/sh\n")
    qemu.chmod(0o755)
    done = run("nested", "--", "true", env=nothing_there(tmp_path))
    assert "kernel" in refused(done)
    assert "ringlet nested --setup" in done.stderr


def test_set_up_that_finds_all_there_says_where(tmp_path: Path) -> None:
    qemu = tmp_path / "qemu-system-x86_64"
    qemu.write_text("#!/bin/sh\n")
    qemu.chmod(0o755)
    there = tmp_path / "ringlet" / "nested" / default_package()
    (there / "boot").mkdir(parents=True)
    (there / "boot" / "vmlinuz-1").write_bytes(b"MZ")
    (there / "lib" / "modules" / "1").mkdir(parents=True)
    done = run("nested", "--setup", env=nothing_there(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{default_package()}: {there}/boot/vmlinuz-1\n"


def test_options_end_where_the_command_begins(tmp_path: Path) -> None:
    done = run("nested", "true", "--share", "/nosuch", env=nothing_there(tmp_path))
    assert "QEMU" in refused(done)


def test_it_takes_no_kvm_and_no_compiled_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "PATH", "/nosuch")  # it ends at the missing QEMU
    modules = imported("nested", "--", "true")
    assert "ringlet.emulated.session" in modules
    assert not any(name.startswith(("ringlet.kvm", "ringlet._core")) for name in modules)


@pytest.mark.needs_qemu
@pytest.mark.needs_nested_kernel
def test_a_terminal_has_a_line_while_the_machine_comes_up_and_no_longer(tmp_path: Path) -> None:
    qemu = tmp_path / "qemu"
    qemu.write_text("#!/bin/sh\nsleep 1; echo this is no QEMU >&2; exit 1\n")
    qemu.chmod(0o755)
    master, slave = pty.openpty()
    with Running("nested", "--qemu", qemu, "--", "true", stderr=slave) as command:
        os.close(slave)
        said = b""
        with suppress(OSError):  # EIO at the end of the terminal
            while part := os.read(master, 4096):
                said += part
        assert command.status() == 125
    os.close(master)
    line, erased, rest = said.decode().split("\r", 2)
    assert "comes up" in line
    assert erased == " " * len(line)
    assert "this is no QEMU" in rest
