"""`ringlet compare` as its users have it."""

import csv
import json
import os
import pty
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ringlet.compare.report import read, to_json

from ..compare.reports import sample
from ..until import until
from .command import ENVIRONMENT, LONG, Running, refused, run
from .test_startup import HEAVY, imported

QUICK = ("compare", "--quick", "--ways", "process", "--measure", "memory")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of what is temporary, in which nothing stays, and no process that has it open."""
    with tempfile.TemporaryDirectory(prefix="ringlet-test-") as folder:
        os.chmod(folder, 0o755)
        monkeypatch.setitem(ENVIRONMENT, "TMPDIR", folder)
        yield Path(folder)
        assert os.listdir(folder) == []
        until(lambda: not [line for line in _command_lines() if folder in line])


def _command_lines() -> Iterator[str]:
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            yield Path(f"/proc/{name}/cmdline").read_bytes().decode(errors="replace")
        except OSError:  # it has ended
            continue


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "saved.json"
    path.write_bytes(to_json(sample()))
    return path


def test_the_table_is_on_standard_output_and_the_progress_on_standard_error() -> None:
    done = run(*QUICK)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "ringlet: measuring memory\n"
    assert done.stdout.count("process") >= 1
    assert "Medians of " in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.needs_kvm
def test_files_called_work_and_probe_in_the_current_folder_do_not_matter(tmp_path: Path) -> None:
    for name in ("work", "work.elf", "probe", "probe.elf"):
        (tmp_path / name).write_text("something else")
    words = ["compare", "--ways", "process,tiny-vm", "--measure", "exits", "--runs", "1", "--json"]
    report = json.loads(run(*words, cwd=tmp_path).stdout)
    assert report["host"]["kvm"] != "none"
    assert all("median" in report["measures"][0]["ways"][way] for way in ("process", "tiny-vm"))


def test_all_outputs_are_of_one_run(tmp_path: Path) -> None:
    table = tmp_path / "samples.csv"
    kept = tmp_path / "report.json"
    done = run(*QUICK, "--json", kept, "--csv", table)
    assert done.returncode == 0, done.stderr
    assert "Medians" in done.stdout
    report = read(str(kept))
    assert report.complete
    assert report.command.startswith("ringlet compare --quick --ways process")
    assert [way.name for way in report.ways] == ["process"]
    with table.open(newline="") as file:
        lines = list(csv.DictReader(file))
    samples = [
        value for row in report.measures for cell in row.ways.values() for value in cell.samples
    ]
    assert [float(line["value"]) for line in lines if line["sample"]] == samples
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "samples.csv"]


@pytest.mark.slow
@pytest.mark.needs_root
@pytest.mark.needs_kvm
def test_all_is_measured_of_all_that_this_host_can_run() -> None:
    """The default set, once; the nested tests do the same where a Linux VM runs."""
    done = run("compare", "--runs", "1", "--instances", "2", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert len(report["ways"]) == 4
    for way in report["ways"][:3]:
        errors = {row["name"]: row["ways"][way["name"]].get("error") for row in report["measures"]}
        lacks = {"process": {"exit", "bomb"}, "container": {"exit"}, "tiny-vm": set()}[way["name"]]
        assert {name for name, error in errors.items() if error} == lacks


def test_json_and_csv_on_standard_output_are_alone_there(saved: Path) -> None:
    done = run(*QUICK, "--json")
    assert json.loads(done.stdout)["format"] == "ringlet-compare"
    assert run("compare", "--load", saved, "--csv", "-").stdout.startswith("measure,unit,way")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ways", "process,jail"], "there is no way 'jail'"),
        (["--with", "jail"], "there is no way 'jail'"),
        (["--measure", "weight"], "there is no measure 'weight'"),
        (["--quick", "--full"], "--quick and --full exclude each other"),
        (["--seconds", "nan"], "--seconds is from 1 to 10000"),
        (["--runs", "0"], "--runs is from 1 to 10000"),
        (["--instances", "-1"], "--instances is from 1 to 10000"),
        (["report.json"], "'report.json' isn't an option"),
        (["--csv", "/absent/file"], "can't write /absent/file: No such file or directory"),
        (["--html", "/"], "can't write /: it is a folder"),
        (["--json", "--csv", "-"], "--json and --csv both go to standard output"),
        (["--html", "-"], "a page isn't for standard output"),
        (["--chart", "startup"], "'startup' is no chart and its file"),
        (["--load", "/absent"], "can't read /absent: No such file or directory"),
        (["--load", "/dev/null"], "can't read /dev/null: it isn't a regular file"),
        (["--load", "x", "--full"], "--load measures nothing, and has no use for --full"),
        (["--load", "x", "--ways", "process"], "has no use for --ways"),
        (["--load", "x", "--with", "all"], "has no use for --with"),
    ],
)
def test_what_cant_be_is_said_before_anything_is_measured(
    arguments: list[str], message: str
) -> None:
    assert message in refused(run("compare", *arguments))


def test_a_chart_that_there_is_not_is_refused_before(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    chart = tmp_path / "a.svg"
    assert "there is no chart 'other'" in refused(run(*QUICK, "--chart", f"other={chart}"))
    assert "a.txt" in refused(run(*QUICK, "--chart", "memory=a.txt"))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_fails_leaves_the_old_one_and_the_others(saved: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    chart, table = tmp_path / "chart.svg", tmp_path / "all.csv"
    chart.write_text("old")
    done = run("compare", "--load", saved, "--chart", f"startup-nothing={chart}", "--csv", table)
    assert done.returncode == 125
    assert "startup-nothing" in done.stderr
    assert "Medians" in done.stdout
    assert chart.read_text() == "old"
    assert table.exists()
    assert len(list(tmp_path.iterdir())) == 3


def test_a_report_is_shown_again_and_two_beside_each_other(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a long path would be cut
    alone = run("compare", "--load", saved)
    assert (alone.returncode, "Medians of 15 runs" in alone.stdout) == (0, True)
    other = "other.json"
    Path(other).write_bytes(saved.read_bytes())
    saved.rename("saved.json")
    saved = Path("saved.json")
    both = run("compare", "--load", saved, other)
    assert (both.returncode, both.stdout.count("saved.json:")) == (0, 1)
    assert run("compare", "--load", saved, "--load", other).stdout == both.stdout
    assert "one report" in refused(run("compare", "--load", saved, other, "--csv", "-"))


def test_a_device_is_written_where_it_is(saved: Path) -> None:
    done = run("compare", "--load", saved, "--csv", "/dev/stderr")
    assert done.stderr.startswith("measure,unit,way")
    assert run("compare", "--load", saved, "--csv", "/dev/full").returncode == 125
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_what_was_found(
    number: signal.Signals, clean: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "report.json"
    command = ("compare", "--ways", "process,tiny-vm", "--measure", "startup", "--runs", "9999")
    with Running(*command, "--json", kept) as running:
        running.complain(b"measuring startup\n")
        time.sleep(1)
        running.process.send_signal(number)
        running.process.send_signal(number)  # one that is in a hurry
        output = running.read_until(b"or --json.\n")
        assert running.status() == 128 + number
    assert b"interrupted" in output
    report = read(str(kept))
    assert not report.complete
    assert 0 < report.seconds < LONG


def _on_a_terminal(*arguments: Any, **variables: str) -> str:
    ours, theirs = pty.openpty()
    with Running(*arguments, stderr=theirs, stdout=theirs) as running:
        os.close(theirs)
        data = b""
        try:
            while chunk := os.read(ours, 1 << 16):
                data += chunk
        except OSError:  # the terminal has gone with its last user
            pass
        assert running.status() == 0
    os.close(ours)
    return data.decode()


def test_a_terminal_has_colors_and_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "TERM", "xterm-256color")
    monkeypatch.delitem(ENVIRONMENT, "NO_COLOR", raising=False)
    output = _on_a_terminal(*QUICK)
    assert "s left" in output
    assert "\x1b[1;32m" in output or "\x1b[1m" in output


def test_no_color_is_plain(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "TERM", "xterm-256color")
    monkeypatch.setitem(ENVIRONMENT, "NO_COLOR", "1")
    assert "\x1b" not in _on_a_terminal("compare", "--load", saved)


def test_a_reader_that_leaves_is_no_mistake(saved: Path) -> None:
    with Running("compare", "--load", saved) as running:
        assert running.process.stdout is not None
        running.process.stdout.close()
        running.process.stdout = None
        assert running.status() == 141


def test_help_of_all_imports_nothing_of_it() -> None:
    modules = imported("--help", first="import click")
    assert not any(name.startswith(("ringlet.compare", "ringlet.cli.compare")) for name in modules)
    assert not imported("compare", "--help", first="import click") & (
        HEAVY - {"importlib.metadata"}
    )
