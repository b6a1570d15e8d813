import subprocess
import sys

from ..container.engine import relay_terminal

# As `run` does it, with a shell on a pseudo-terminal in the place of a container.
RELAYED = """
import os, pty, sys
from ringlet.host.polling import End, wait
from ringlet.host.pty_relay import PtyRelay
from ringlet.host.signals import Signals
go, begin = os.pipe()
pid, master = pty.fork()
if pid == 0:
    os.read(go, 1)  # the terminal has its size by then
    os.execvp("sh", ["sh", "-c", sys.argv[1]])
end = End(os.pidfd_open(pid))
with PtyRelay(master) as relay, Signals([28], lambda number: relay.resize()) as signals:
    os.write(begin, b"x")
    while not end.came:
        ready = wait([relay, signals, end])
        for part in (relay, signals, end):
            part.step(ready)
    relay.drain()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def words(script: str) -> list[str]:
    return [sys.executable, "-c", RELAYED, script]


def test_keys_go_in_and_what_is_shown_comes_out() -> None:
    script = "echo ready; read word; echo got $word; exit 6"
    status, seen = relay_terminal(words(script), [(b"ready", b"word\r")])
    assert status == 6
    assert b"got word\r\n" in seen
    assert seen.count(b"word") == 2  # one echo, the inner terminal's


def test_the_key_for_an_interrupt_is_the_inner_terminals() -> None:
    script = "trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.01; done"
    status, seen = relay_terminal(words(script), [(b"ready", b"\x03")])
    assert status == 5
    assert b"interrupted" in seen


def test_much_passes_both_ways() -> None:
    script = "stty raw -echo; echo ready; head -c 300000 | wc -c; exit 0"
    status, seen = relay_terminal(words(script), [(b"ready", b"x" * 300_000)])
    assert (status, b"300000" in seen) == (0, True)


def test_without_a_terminal_the_end_of_input_is_the_key_for_it() -> None:
    answer = subprocess.run(
        words("cat; echo end"), input=b"line\n", stdout=subprocess.PIPE, check=True, timeout=60
    )
    assert answer.stdout.endswith(b"end\r\n")


def test_all_that_was_written_before_the_end_is_shown() -> None:
    answer = subprocess.run(
        words("head -c 100000 /dev/zero | tr '\\0' x"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    assert answer.stdout.count(b"x") == 100_000


def test_the_size_is_the_outer_terminals_also_when_it_changes() -> None:
    script = "stty size; trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.01; done"
    status, seen = relay_terminal(words(script), [(b"ready", (33, 77))])
    assert status == 0
    assert b"24 80" in seen
    assert b"33 77" in seen
