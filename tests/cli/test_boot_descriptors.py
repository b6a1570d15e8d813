"""`ringlet boot` where standard output or error is closed, full or has no reader."""

import os
import subprocess

import pytest

from .command import ENVIRONMENT, LONG, RINGLET

pytestmark = pytest.mark.needs_kvm


def shell(redirections: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", f'"$@" {redirections}', "sh", *RINGLET, "boot", *arguments],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        encoding="utf-8",
        timeout=LONG,
    )


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-"])
def test_a_report_that_nobody_can_read_leaves_the_status_as_it_is(redirection: str) -> None:
    done = shell(redirection, "crash")
    assert done.returncode == 70
    assert done.stderr == ""
    assert done.stdout.endswith("is a triple fault.\n")


def test_standard_error_without_a_reader_leaves_the_status_as_it_is() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as error:
        done = subprocess.run(
            [*RINGLET, "boot", "crash"],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=error,
            check=False,
            timeout=LONG,
        )
    assert done.returncode == 70


@pytest.mark.parametrize("options", [(), ("--memory", "64M")])
def test_a_closed_standard_output_is_nowhere_and_no_other_file(options: tuple[str, ...]) -> None:
    done = shell(">&-", "hello", *options)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_report_that_cant_be_written_is_an_error_of_two_lines() -> None:
    done = shell(">/dev/full", "hello", "--json")
    assert done.returncode == 125
    _, what, hint = done.stderr.splitlines()
    assert "No space left" in what
    assert "hint:" in hint


def test_a_start_that_is_no_time_is_refused_before_the_run() -> None:
    for value in ("x", "-1", "9" * 400, ""):
        done = subprocess.run(
            [*RINGLET, "boot", "hello", "--json"],
            env=ENVIRONMENT | {"RINGLET_START_NS": value},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=LONG,
        )
        assert done.returncode == 125
        assert b"is not a time" in done.stderr
