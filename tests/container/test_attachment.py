import os
import signal
import subprocess
import threading
from typing import Any

from ringlet.container.attachment import Attachment

SAYS = "trap 'echo usr1' USR1; trap 'echo term; exit' TERM; echo up; while :; do sleep 0.01; done"


class Shell:
    """A shell that says what it gets."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(["sh", "-c", SAYS], stdout=subprocess.PIPE, text=True)
        self.pidfd = os.pidfd_open(self.process.pid)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "up\n"

    def fileno(self) -> int:
        return self.pidfd

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def close(self) -> str:
        said, _ = self.process.communicate()
        os.close(self.pidfd)
        return said


def test_signals_go_on_to_the_process_also_those_from_before_it_was_there(no_leak: None) -> None:
    with Attachment() as attachment:
        os.kill(os.getpid(), signal.SIGUSR1)
        shell = Shell()
        timer = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGTERM])
        timer.start()
        attachment.follow(shell)
        timer.join()
    assert shell.close() == "usr1\nterm\n"


def test_it_ends_with_the_process(no_leak: None) -> None:
    with Attachment() as attachment:
        shell = Shell()
        shell.process.kill()
        attachment.follow(shell)
        assert shell.close() == ""


def test_the_handlers_come_back_and_what_was_ignored_stays_so() -> None:
    def mine(number: int, frame: Any) -> None: ...

    before = signal.signal(signal.SIGUSR1, mine)
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        all_before = [signal.getsignal(number) for number in signal.valid_signals()]
        with Attachment():
            assert signal.getsignal(signal.SIGUSR1) != mine
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGHUP)
        assert [signal.getsignal(number) for number in signal.valid_signals()] == all_before
    finally:
        signal.signal(signal.SIGUSR1, before)
        signal.signal(signal.SIGHUP, hangup)
