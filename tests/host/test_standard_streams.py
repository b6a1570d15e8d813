"""Standard streams that were closed when a process started."""

import subprocess
import sys
from ast import literal_eval
from pathlib import Path

import pytest

FILLED = """
import os, sys
from ringlet.host.standard_streams import fill_standard_streams, find_terminal
before = set(os.listdir("/proc/self/fd"))
fill_standard_streams()
fill_standard_streams()
links = [os.readlink(f"/proc/self/fd/{fd}") for fd in range(3)]
report = os.open(sys.argv[1], os.O_WRONLY)
os.write(report, repr((links, report, find_terminal())).encode())
"""


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2), ()])
def test_a_closed_stream_becomes_dev_null_and_no_other_file_does(
    closed: tuple[int, ...], tmp_path: Path
) -> None:
    report = tmp_path / "report"
    report.touch()
    shell = ["sh", "-c", f'exec "$@" {" ".join(f"{fd}>&-" for fd in closed)}', "sh"]
    subprocess.run(
        [*shell, sys.executable, "-c", FILLED, report],
        stdin=subprocess.PIPE,
        capture_output=True,
        check=True,
        timeout=60,
    )
    links, number, terminal = literal_eval(report.read_text())
    assert [link == "/dev/null" for link in links] == [fd in closed for fd in range(3)]
    assert number == 3
    assert terminal is None
