"""`ringlet-oci`: the command line by which container engines and people run containers.

It follows runc's command line, as engines call runc. No specification of that command line exists
besides the programs themselves.

Source: opencontainers/runtime-tools, docs/command-line-interface.md; runc(8) and its pages;
containerd/go-runc, runc.go; containers/conmon, src/conmon.c.
"""

from __future__ import annotations

import errno
import os
import sys

from ringlet.container.log import Log
from ringlet.errors import RingletError, near
from ringlet.host.interrupt import Interrupted
from ringlet.host.standard_streams import fill_standard_streams
from ringlet.oci.commands import COMMANDS
from ringlet.oci.options import Option, OptionError, explain, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ringlet.container.runtime import Runtime
    from ringlet.oci.commands import Command

GLOBAL = (
    Option(
        "root", "DIR", "where the containers' state is (/run/ringlet, $XDG_RUNTIME_DIR/ringlet)"
    ),
    Option("log", "FILE", "where to log to (standard error)"),
    Option("log-format", "FORMAT", "text or json (text)"),
    Option("debug", None, "log each step"),
    Option("systemd-cgroup", None, "not to be had: cgroups are made without systemd"),
    Option("rootless", "WHEN", "do without cgroups that can't be had: true, false or auto (auto)"),
    Option("criu", "FILE", "without effect: there are no checkpoints"),
    Option("version v", None, "show the version"),
)

_STATELESS = ("features", "spec")  # commands that need no folder for states

# Engines search an error for these words in small letters. The words tell a command that can't be
# run from a failure of the runtime.
_ENGINES_WORDS = {126: "permission denied", 127: "no such file or directory"}
_NO_MEMORY = "raise the limit: ulimit -v; if a container is left: delete --force ID"
_LONGEST = 255  # characters of a word of the command line in a message
_EXEC_FAILED = 255  # the status of a failed `exec`; others are the command's


def main() -> None:
    """Runs the program, and ends the process."""
    status = 1
    try:
        fill_standard_streams()
        if sys.stdout is not None:  # file names may hold bytes that can't be encoded
            sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        status = run(sys.argv[1:])
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        status = 141
    except Interrupted as signal:
        status = signal.status
    except OSError as error:
        _say(f"standard output: {error.strerror}")
    except (MemoryError, ImportError, SystemError) as error:  # an import without memory
        _say(f"there is not enough memory ({_NO_MEMORY}): {error}")
    os._exit(status)  # Python's own shutdown would take a tenth of a short run


def _say(message: str) -> None:
    """Writes `message` to standard error with little memory, and ignores a failed write."""
    try:
        os.write(2, f"ringlet-oci: {message}\n".encode(errors="replace"))
    except OSError:
        pass


def run(words: list[str]) -> int:
    """Runs `ringlet-oci WORDS`, and returns its exit status."""
    log = Log()
    name = ""
    try:
        values, rest = parse(words, GLOBAL, mixed=False)
        if values.get("version") or rest[:1] == ["version"]:
            return _version()
        if values.get("help") or not rest or rest[0] in ("help", "h"):
            return _help(rest[1:])
        log = _log(values)
        name = rest[0]
        command = _command(name)
        options, arguments = parse(rest[1:], command.options, mixed=not command.passes_options)
        if options.get("help"):
            return _help([name])
        command.check(arguments)
        log.debug(f"{name} {' '.join(arguments[:1])}: process {os.getpid()}, user {os.geteuid()}")
        return command.run(_runtime(values, log, name), options, arguments)
    except RingletError as error:
        status: int = getattr(error, "status", 1)
        why = _ENGINES_WORDS.get(status, "")
        said = error.message if why in error.message else f"{error.message}: {why}"
        log.error(_shorten(f"{said} ({error.hint})", words))
        # As in a shell, 126 and 127 mean for `run` and `exec` that the command can't be run.
        if name in ("run", "exec") and status in (126, 127):
            return status
        return _EXEC_FAILED if name == "exec" else 1
    except BrokenPipeError:
        raise  # the reader of our output has gone: no message
    except OSError as error:
        hint = "is it there, and yours to use?"
        if error.errno in (errno.EMFILE, errno.ENFILE):
            hint = "raise the limit: ulimit -n 1024"
        elif error.errno == errno.ENOMEM:
            hint = _NO_MEMORY
        log.error(_shorten(f"{error.filename or name}: {error.strerror} ({hint})", words))
        return _EXEC_FAILED if name == "exec" else 1


def _shorten(message: str, words: list[str]) -> str:
    """Returns `message` with the long words of the command line shortened."""
    for word in (*words, *(word.partition("=")[2] for word in words)):
        if len(word) > _LONGEST:
            message = message.replace(word, word[: _LONGEST - 3] + "...")
    return message


def _log(values: dict[str, Any]) -> Log:
    form = values.get("log-format", "text")
    if form not in ("text", "json"):
        raise OptionError(f"--log-format {form}: not known", "use text or json")
    return Log(values.get("log"), json=form == "json", debug=values.get("debug", False))


def _runtime(values: dict[str, Any], log: Log, name: str) -> Runtime:
    if values.get("systemd-cgroup"):
        raise OptionError(
            "--systemd-cgroup: this runtime doesn't speak to systemd",
            "set the engine's cgroup driver to cgroupfs (podman: --cgroup-manager cgroupfs)",
        )
    when = values.get("rootless", "auto")
    if when not in ("true", "false", "auto"):
        raise OptionError(f"--rootless {when}: not known", "use true, false or auto")
    from ringlet.container.launch.idmap import is_root_of_host
    from ringlet.container.runtime import Runtime
    from ringlet.container.state import Store, default_root

    return Runtime(
        Store(values.get("root") or ("" if name in _STATELESS else default_root())),
        log,
        may_lack=not is_root_of_host() if when == "auto" else when == "true",
    )


def _command(name: str) -> Command:
    try:
        return COMMANDS[name]
    except KeyError:
        hint = near(name, COMMANDS, f"one of: {' '.join(COMMANDS)}")
        raise OptionError(f"unknown command {name}", hint) from None


def _version() -> int:
    """Prints the lines of `runc --version` that engines read, as far as ringlet has them."""
    from importlib.metadata import version

    from ringlet.container.seccomp import libseccomp
    from ringlet.container.spec.names import OCI_VERSION

    print(f"ringlet-oci version {version('ringlet')}\nspec: {OCI_VERSION}")
    try:
        print(f"libseccomp: {libseccomp.version()}")
    except RingletError:  # the host has none
        pass
    return 0


def _help(names: list[str]) -> int:
    if names:
        command = _command(names[0])
        print(f"usage: ringlet-oci [GLOBAL OPTIONS] {names[0]} [OPTIONS] {command.usage}\n")
        print(f"{command.help}\n\noptions:\n{explain(command.options)}\n")
        print("example:\n" + "\n".join(f"  {line}" for line in command.example.splitlines()))
        return 0
    print("usage: ringlet-oci [GLOBAL OPTIONS] COMMAND [OPTIONS] [ARGUMENTS]\n")
    print("Runs containers by the OCI runtime specification, for engines and for people.\n")
    print("commands:")
    for name, command in COMMANDS.items():
        print(f"  {name:8}  {command.help.partition(chr(10))[0]}")
    print(f"\noptions:\n{explain(GLOBAL)}\n")
    print("example:\n  ringlet-oci help run\n  podman --runtime $(which ringlet-oci) run ...")
    return 0
