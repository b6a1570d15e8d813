"""The grader in an emulated machine, for checks that need a KVM which this host doesn't have.

One machine serves all works of a run. `Machine` starts the machine, and in there `serve` runs. Both
talk through the command's standard streams, in lines of JSON:

    to the machine     {"lab": NUMBER, "checks": [NUMBER ...], "files": {NAME: BASE64}}
    from the machine   {"event": "ready"}, once
                       {"event": "check", "number": NUMBER}, before each check
                       {"event": "verdict", "number": NUMBER, "verdict": {...}}, after each check
                       {"event": "end", "notes": [...]}, or
                       {"event": "error", "error": MESSAGE, "hint": HINT}, for each work

The files come by that way too, and not by a path, since both graders have to judge the same files.
"""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from tempfile import TemporaryFile

from ringlet.closing import Closing
from ringlet.emulated.nested_config import NestedConfig
from ringlet.emulated.session import run
from ringlet.errors import RingletError
from ringlet.host import interrupt
from ringlet.host.printable import printable
from ringlet.labs.catalog import find_lab
from ringlet.labs.check import Verdict
from ringlet.labs.grade import judge
from ringlet.labs.host import Host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from ringlet.labs.catalog import Lab

NESTED = "an emulated machine with a hardware KVM"
_RUN = (sys.executable, "-c", "from ringlet.labs.nested import run_machine; run_machine()")
_SERVE = (sys.executable, "-c", "from ringlet.labs.nested import serve; serve()")
_SILENCE = 180.0  # seconds without a word after which the machine hangs
_MAX_LINE = 1 << 20
_CHUNK = 1 << 16


class MachineLostError(RingletError):
    """The emulated machine can't be had, or has ended."""


class Machine(Closing):
    """An emulated machine with the grader in it: a context manager, which ends the machine.

    `say` is told, each second, for how long the machine has been starting. Raises `RingletError` if
    the machine can't be had.
    """

    def __init__(self, say: Callable[[str], object]) -> None:
        self._left = b""  # of a line that isn't complete
        self._is_up = False
        self._errors = TemporaryFile()  # noqa: SIM115 (closed by close)
        self._process = subprocess.Popen(
            _RUN,
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        os.set_blocking(self._stdin.fileno(), False)
        begun = time.monotonic()

        def say_how_long() -> None:
            seconds = time.monotonic() - begun
            say(f"an emulated machine starts, in some 10 seconds: {seconds:.0f} s")

        try:
            self._receive(say_how_long)
            self._is_up = True
        except BaseException:
            self.close()
            raise

    def judge(
        self,
        lab: Lab,
        numbers: Sequence[int],
        files: Mapping[str, bytes],
        on_check: Callable[[int], object],
        notes: list[str],
    ) -> Iterator[tuple[int, Verdict]]:
        """Runs the checks of these numbers in there; otherwise as `grade.judge`.

        Raises `RingletError` if the grader in there can't judge, and `MachineLostError` if the
        machine ends meanwhile, or hangs.
        """
        encoded = {name: base64.b64encode(data).decode() for name, data in files.items()}
        self._send({"lab": lab.number, "checks": list(numbers), "files": encoded})
        while True:
            event = self._receive()
            if event["event"] == "check":
                on_check(event["number"])
            elif event["event"] == "verdict":
                yield event["number"], Verdict(**event["verdict"])._replace(where=NESTED)
            elif event["event"] == "error":
                raise RingletError(event["error"], event["hint"])
            else:
                notes += [note for note in event["notes"] if note not in notes]
                return

    def _send(self, task: dict[str, Any]) -> None:
        left = memoryview(json.dumps(task).encode() + b"\n")
        end = time.monotonic() + _SILENCE
        while left:
            self._wait(self._stdin.fileno(), select.POLLOUT, end)
            try:
                with suppress(BlockingIOError):
                    left = left[os.write(self._stdin.fileno(), left) :]
            except BrokenPipeError:
                raise self._lost() from None

    def _receive(self, on_second: Callable[[], object] = lambda: None) -> dict[str, Any]:
        end = time.monotonic() + _SILENCE
        while b"\n" not in self._left:
            self._wait(self._stdout.fileno(), select.POLLIN, end, on_second)
            data = os.read(self._stdout.fileno(), _CHUNK)
            self._left += data
            if not data or len(self._left) > _MAX_LINE:
                raise self._lost()
        line, _, self._left = self._left.partition(b"\n")
        try:
            event: dict[str, Any] = json.loads(line)
        except ValueError:
            raise self._lost() from None
        return event

    def _wait(
        self, fd: int, event: int, end: float, on_second: Callable[[], object] = lambda: None
    ) -> None:
        poll = select.poll()
        poll.register(fd, event)
        while True:
            interrupt.check()
            on_second()
            if poll.poll(1000):
                return
            if time.monotonic() >= end:
                raise self._lost(f"it has said nothing for {_SILENCE:.0f} seconds")

    def _lost(self, why: str = "") -> MachineLostError:
        self._process.kill()
        status = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").splitlines() or [f"status {status}"]
        ours = [line for line in said if line.startswith("ringlet: ")] or said[-1:]
        why = why or printable(ours[0].removeprefix("ringlet: "))
        if not self._is_up:
            return MachineLostError(
                f"the checks need an emulated machine: {why}",
                "once, with a network: ringlet nested --setup; `ringlet doctor` says more",
            )
        return MachineLostError(
            f"the emulated machine is lost: {why}", "try again: ringlet lab check"
        )

    def close(self) -> None:
        """Ends the machine."""
        self._process.kill()
        self._process.wait()
        for file in (self._stdin, self._stdout, self._errors):
            file.close()


def run_machine() -> None:
    """Runs the machine with `serve` in it: the program that `Machine` starts."""
    try:
        sys.exit(run(NestedConfig(_SERVE, shadow_paging=True)))
    except RingletError as error:
        print(f"ringlet: {error.message}", file=sys.stderr)
        sys.exit(error.status)


def serve() -> None:
    """Grades what comes on standard input: the program that runs in the emulated machine."""
    host = Host()
    _tell("ready")
    for line in sys.stdin:
        task = json.loads(line)
        every = find_lab(task["lab"]).checks()
        checks = {number: every[number] for number in task["checks"]}
        files = {name: base64.b64decode(data) for name, data in task["files"].items()}
        notes: list[str] = []
        try:
            for number, verdict in judge(checks, files, host, _tell_check, notes):
                _tell("verdict", number=number, verdict=verdict._asdict())
        except RingletError as error:
            _tell("error", error=error.message, hint=error.hint)
        else:
            _tell("end", notes=notes)


def _tell_check(number: int) -> None:
    _tell("check", number=number)


def _tell(event: str, **more: object) -> None:
    print(json.dumps({"event": event, **more}), flush=True)
