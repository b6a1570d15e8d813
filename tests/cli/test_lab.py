"""`ringlet lab`: the list, the texts, a folder, and the grades, in words and as data."""

import json
import os
import shutil
import signal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ..until import until
from .command import ENVIRONMENT, Running, refused, run, with_mount

SOLUTIONS = Path(__file__).parents[1] / "labs/solutions"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert run("lab", "start", "1", cwd=tmp_path).returncode == 0
    return tmp_path / "lab1"


def test_list_has_a_line_for_each_lab_with_its_number_first() -> None:
    done = run("lab", "list")
    assert done.returncode == 0
    numbers = [int(line.split()[0]) for line in done.stdout.splitlines()]
    assert numbers == sorted(numbers)
    assert {1, 3} <= set(numbers)


def test_start_says_what_to_do_next(tmp_path: Path) -> None:
    done = run("lab", "start", "3", "mine", cwd=tmp_path)
    assert done.stdout.splitlines()[0] == "mine/ has Makefile, guest.S."
    assert "ringlet lab show 3" in done.stdout
    assert sorted(os.listdir(tmp_path / "mine")) == [".ringlet-lab", "Makefile", "guest.S"]


def test_show_renders_the_text() -> None:
    shown = run("lab", "show", "1").stdout
    assert "Lab 1: a VM in forty lines of Python" in shown
    assert "##" not in shown


@pytest.mark.parametrize("words", [["check"], ["check", "1"], ["reset"], ["start", "99"]])
def test_where_no_lab_is_the_answer_is_two_lines(words: list[str], tmp_path: Path) -> None:
    refused(run("lab", *words, cwd=tmp_path))


def test_a_missing_file_is_named_and_reset_brings_it_back(folder: Path) -> None:
    (folder / "vm.py").unlink()
    assert refused(run("lab", "check", cwd=folder)) == "the file vm.py is missing in ."
    assert run("lab", "reset", cwd=folder).returncode == 0
    assert (folder / "vm.py").is_file()


def test_reset_says_where_the_files_are(folder: Path) -> None:
    (folder / "vm.py").write_text("mine")
    assert "Your files are in before-reset-1/." in run("lab", "reset", cwd=folder).stdout
    assert (folder / "before-reset-1/vm.py").read_text() == "mine"


@pytest.mark.needs_kvm
@pytest.mark.needs_root
def test_check_names_each_requirement_what_was_expected_and_seen(folder: Path) -> None:
    done = run("lab", "check", cwd=folder)
    assert done.returncode == 1
    assert done.stderr == ""
    assert "  failed the guest runs (0/20)\n         expected: a counter" in done.stdout
    assert "\n         hint: " in done.stdout
    assert done.stdout.endswith("\n0 of 100 points, on this host\n")


@pytest.mark.needs_kvm
@pytest.mark.needs_root
def test_all_passed_is_status_0_and_the_grades_are_data(folder: Path) -> None:
    shutil.copy(SOLUTIONS / "lab01_first_vm/reference/vm.py", folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    done = run("lab", "check", "1", "--json", "--gradescope", "results.json", cwd=folder.parent)
    assert done.returncode == 0
    grades = json.loads(done.stdout)
    assert (grades["earned"], grades["points"], grades["passed"]) == (100, 100, True)
    assert all(one["passed"] and one["earned"] == one["points"] for one in grades["checks"])
    results = json.loads((folder.parent / "results.json").read_text())
    assert results["score"] == 100
    assert [one["status"] for one in results["tests"]] == ["passed"] * len(grades["checks"])
    assert sum(one["max_score"] for one in results["tests"]) == 100
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.needs_kvm
@pytest.mark.needs_root
def test_grades_that_cannot_be_written_are_an_error(folder: Path) -> None:
    done = run("lab", "check", "--gradescope", "/no/folder/results.json", cwd=folder)
    assert "can't be written to /no/folder/results.json" in refused(done)


def test_without_a_compiler_it_says_what_to_install(tmp_path: Path) -> None:
    run("lab", "start", "3", cwd=tmp_path)
    done = run("lab", "check", "3", cwd=tmp_path, env=ENVIRONMENT | {"PATH": str(tmp_path)})
    assert refused(done) == "there is no gcc, which lab 3 needs"
    assert "apt install gcc" in done.stderr


@pytest.mark.needs_mount_namespace
def test_without_kvm_it_says_so_and_json_has_the_error(folder: Path) -> None:
    before = with_mount("mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3")
    done = run("lab", "check", "--json", "--on", "here", cwd=folder, before=before)
    assert done.returncode == 125
    assert json.loads(done.stdout)["error"].startswith(
        "the check 'the program makes a VM with one vCPU' can't run here: KVM can't be used here ("
    )


@pytest.mark.needs_kvm
@pytest.mark.needs_root
def test_an_interrupt_ends_the_check_and_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "vm.py").write_text("while True: pass")
    with TemporaryDirectory(prefix="ringlet-test-") as temporary:
        os.chmod(temporary, 0o755)
        monkeypatch.setitem(ENVIRONMENT, "TMPDIR", temporary)
        with Running("lab", "check", cwd=folder) as command:
            until(lambda: os.listdir(temporary))
            command.process.send_signal(signal.SIGINT)
            assert command.status() == 130
        assert os.listdir(temporary) == []
