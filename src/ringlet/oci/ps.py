"""`ps` of a container: prints the lines of ps(1) that show the container's processes.

A column may have spaces (`-o args,pid`), so that a process id can't be found in such a line. That
is why ps prints the process id once more, as an additional first column. With a predefined format
(`-f`, `u`, `-Z`), ps refuses an additional column. In these formats the process id is the first
number from the column PID on.

Source: ps(1), "OUTPUT FORMAT CONTROL".
"""

from __future__ import annotations

from subprocess import run

from ringlet.oci.options import OptionError, is_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from subprocess import CompletedProcess


def show(options: list[str], pids: list[int]) -> None:
    """Prints the head and the lines of `pids`, as ps does with `options`. Raises OptionError."""
    answer = _ask(options)
    if answer.returncode != 0:
        said = answer.stderr.strip().partition("\n")[0]
        raise OptionError(f"ps: {said}", "use options that ps knows")
    head, *lines = answer.stdout.splitlines() or [""]
    more = _ask(["-o", "pid=", *options])
    more_head, *more_lines = more.stdout.splitlines() or [""]
    if more.returncode == 0 and head.strip() and more_head.endswith(head):
        width = len(more_head) - len(head)
        numbered = [(line[:width], line[width:]) for line in more_lines]
    elif "PID" in head.split():
        column = head.split().index("PID")
        numbered = [(next(filter(is_number, line.split()[column:]), ""), line) for line in lines]
    else:
        raise OptionError("ps shows no column PID", "use options that show it")
    print(head)
    for number, line in numbered:
        if is_number(number.strip()) and int(number) in pids:
            print(line)


def _ask(options: list[str]) -> CompletedProcess[str]:
    try:
        return run(
            ["ps", *options],
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            check=False,
        )
    except FileNotFoundError:
        raise OptionError("there is no ps here", "install it: apt install procps") from None
