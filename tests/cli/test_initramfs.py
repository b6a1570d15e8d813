"""`ringlet initramfs`."""

import gzip
import os
import stat
import subprocess
from pathlib import Path

import pytest

from ..linux.cpio_reader import read
from ..linux.module_builder import module, modules_folder
from .command import ENVIRONMENT, RINGLET, refused, run

BARE = ("initramfs", "--no-busybox")


def plan(image: bytes) -> list[bytes]:
    return read(image)["plan"].content.splitlines()


def test_a_command_is_a_shells_and_its_status_the_machines(tmp_path: Path) -> None:
    out = tmp_path / "image"
    result = run(*BARE, "--exec", "echo 'a b'; exit 3", out)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    lines = plan(out.read_bytes())
    assert lines[-3:] == [b"arg sh", b"arg -c", b"arg echo%20'a%20b';%20exit%203"]
    assert b"status port" in lines


def test_without_a_command_there_is_a_shell_on_a_terminal(tmp_path: Path) -> None:
    assert run(*BARE, tmp_path / "image").returncode == 0
    assert plan((tmp_path / "image").read_bytes())[-2:] == [b"arg sh", b"tty 24 80"]


def test_files_and_folders_go_where_they_are_told(tmp_path: Path) -> None:
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/sub/file").write_text("inside")
    (tmp_path / "note").write_text("note")
    options = ["--folder", "tree", "--folder", "tree:/opt/tree", "--file", "note"]
    result = run(*BARE, *options, "--file", "note:/etc/motd", "image", cwd=tmp_path)
    assert result.returncode == 0, result
    found = read((tmp_path / "image").read_bytes())
    for name in ("sub/file", "opt/tree/sub/file"):
        assert found[name].content == b"inside"
    for name in ("note", "etc/motd"):
        assert found[name].content == b"note"


def test_modules_come_with_what_they_need(tmp_path: Path) -> None:
    folder = modules_folder(tmp_path / "m", {"a.ko": module("b"), "b.ko": module()})
    out = tmp_path / "image"
    result = run(*BARE, "--modules", folder, "--module", "a", out)
    assert result.returncode == 0, result
    assert plan(out.read_bytes())[:2] == [b"module /modules/b.ko", b"module /modules/a.ko"]


def test_the_same_content_gives_the_same_image(tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert run(*BARE, "--compress", "gzip", tmp_path / name).returncode == 0
    image = (tmp_path / "one").read_bytes()
    assert image == (tmp_path / "two").read_bytes()
    run(*BARE, tmp_path / "plain")
    assert gzip.decompress(image) == (tmp_path / "plain").read_bytes()


def test_an_image_is_replaced_when_the_new_one_is_complete(tmp_path: Path) -> None:
    out = tmp_path / "image"
    out.write_bytes(b"before")
    refused(run(*BARE, "--file", tmp_path / "missing", out))
    assert out.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["image"]
    assert run(*BARE, out).returncode == 0
    assert "init" in read(out.read_bytes())
    assert os.listdir(tmp_path) == ["image"]


def test_a_device_is_written_to_and_stays_one() -> None:
    assert run(*BARE, "/dev/null").returncode == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    command = [*RINGLET, *BARE, "/dev/stdout"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "init" in read(done.stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--folder", "/etc/passwd", "x"], "/etc/passwd isn't a folder"),
        (["--file", "/no/such", "x"], "can't copy /no/such: No such file or directory"),
        (["--file", "/etc/passwd:", "x"], "not PATH[:AT]: '/etc/passwd:'"),
        (["--exec", "a\nb", "/no/such/x"], "can't write /no/such/x: No such file or directory"),
        (["--module", "x", "x"], "modules are asked for, but not where they are"),
        (["--modules", "/etc", "--module", "x", "x"], "/etc isn't a kernel's modules:"),
        (["--modules", "/etc", "x"], "--modules without --module"),
        (["--folder", ".:/data", "x"], "x lies in ., which is copied"),
        (["--compress", "lzma", "x"], "--compress takes "),
        ([], "OUT is missing"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    assert refused(run(*BARE, *arguments, cwd=tmp_path)).startswith(message)
    assert os.listdir(tmp_path) == []
