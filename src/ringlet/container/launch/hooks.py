"""Runs hooks: programs of the engine that run on the host at points of a container's life.

This module runs the hooks in the runtime's namespaces: prestart, createRuntime, poststart,
poststop. (The helper runs createContainer and startContainer, since it is in the container's
namespaces.) Each hook gets the state on its standard input. If a hook fails, its output is
reported as the reason; otherwise its output is dropped. A hook never gets the container's
standard streams.

Source: OCI Runtime Specification 1.3, config.md ("POSIX-platform Hooks"), runtime.md ("Lifecycle").
"""

from __future__ import annotations

import os
from select import POLLIN, poll
from time import monotonic

from ringlet.container.fast_json import dumps
from ringlet.errors import RingletError
from ringlet.host import interrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from subprocess import Popen

    from ringlet.container.spec.types import Hook

_KEPT = 4096  # how many bytes of a hook's output are kept: the last ones


class HookError(RingletError):
    """A hook that could not be started, failed, or took too long."""


def run_hooks(point: str, hooks: Iterable[Hook], state: dict[str, object], bundle: str) -> None:
    """Runs `hooks` in order, in `bundle`. Raises HookError at the first that fails."""
    for number, hook in enumerate(hooks):
        _run(f"{point} hook {number}, {hook['path']}", hook, dumps(state).encode(), bundle)


def run_all_hooks(
    point: str, hooks: Iterable[Hook], state: dict[str, object], bundle: str
) -> list[HookError]:
    """Runs each of `hooks`, even after one fails; returns the errors of those that failed."""
    failed = []
    for number, hook in enumerate(hooks):
        try:
            _run(f"{point} hook {number}, {hook['path']}", hook, dumps(state).encode(), bundle)
        except HookError as error:
            failed.append(error)
    return failed


def _run(name: str, hook: Hook, state: bytes, bundle: str) -> None:
    from subprocess import PIPE, STDOUT, Popen  # most containers have no hooks

    memory = os.memfd_create("state")  # not a pipe: a hook that doesn't read must not block us
    try:
        os.write(memory, state)
        os.lseek(memory, 0, os.SEEK_SET)
        process = Popen(
            hook.get("args") or [hook["path"]],
            executable=hook["path"],
            env=_environment(hook),
            cwd=bundle,
            stdin=memory,
            stdout=PIPE,
            stderr=STDOUT,
        )
    except OSError as error:
        raise HookError(f"{name}: {error.strerror}", "see `hooks` in config.json") from None
    finally:
        os.close(memory)
    with process:
        try:
            printed = _wait(process, hook.get("timeout"))
        except interrupt.Interrupted:
            process.kill()
            raise
        if printed is None:
            process.kill()
            process.wait()
            raise HookError(
                f"{name}: no end after {hook['timeout']} s", "see its `timeout` in config.json"
            )
    if process.returncode != 0:
        said = printed.decode(errors="replace").strip().rpartition("\n")[2]
        how = f"status {process.returncode}" if process.returncode > 0 else "killed by a signal"
        raise HookError(f"{name}: {how}" + (f": {said}" if said else ""), "see what it does")


def _environment(hook: Hook) -> dict[str, str] | None:
    """Returns a hook's own environment; None, for ours, only if its configuration has no `env`."""
    if "env" not in hook:
        return None
    return dict(word.partition("=")[::2] for word in hook["env"])


def _wait(process: Popen[bytes], seconds: int | None) -> bytes | None:
    """Waits for a hook; returns the end of its output, or None if `seconds` are over first.

    The end of the process counts, not the end of the pipe: a program that the hook left running may
    hold the pipe open.
    """
    assert process.stdout is not None
    output, end = process.stdout.fileno(), os.pidfd_open(process.pid)
    waiting = poll()
    waiting.register(output, POLLIN)
    waiting.register(end, POLLIN)
    deadline = None if seconds is None else monotonic() + seconds
    printed = b""
    try:
        while True:
            left = None if deadline is None else max(0.0, deadline - monotonic()) * 1000
            with interrupt.waiting:
                ready = [fd for fd, _ in waiting.poll(left)]
            if output in ready:
                data = os.read(output, 65536)
                printed = (printed + data)[-_KEPT:]
                if not data:
                    waiting.unregister(output)
            if end in ready:
                process.wait()
                return printed
            if deadline is not None and monotonic() >= deadline:
                return None
    finally:
        os.close(end)
