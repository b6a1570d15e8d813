"""A shell with job control for one job, which is what the terminal's tests need of one.

    shell.py TTY COMMANDS REPORTS foreground|background PROGRAM...

TTY becomes the controlling terminal. Reports on descriptor REPORTS: `pid N`, `stopped`,
`ended STATUS`, where STATUS is negative for a signal; the job writes there, too. After
`stopped` it has the terminal itself and obeys lines from COMMANDS: `bg` continues the job,
`take` gives it the terminal and says nothing, as bash does for a job that runs, `fg` does both.
"""

import os
import signal
import sys
import threading

tty, commands, reports, place, *program = sys.argv[1:]
terminal = os.open(tty, os.O_RDWR)  # a session's leader without a terminal gets it by this
for fd in (0, 1, 2):
    os.dup2(terminal, fd)
os.close(terminal)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)


def report(line: str) -> None:
    os.write(int(reports), line.encode() + b"\n")


job = os.fork()
if job == 0:
    os.setpgid(0, 0)
    if place == "foreground":
        os.tcsetpgrp(0, os.getpgrp())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.close(int(commands))
    os.execv(sys.executable, [sys.executable, *program, reports])
report(f"pid {job}")


def obey() -> None:
    with os.fdopen(int(commands)) as lines:
        for line in lines:
            if line.strip() in ("take", "fg"):
                os.tcsetpgrp(0, job)
            if line.strip() in ("bg", "fg"):
                os.killpg(job, signal.SIGCONT)
    os.kill(job, signal.SIGKILL)  # the test is over


threading.Thread(target=obey, daemon=True).start()
while True:
    _, status = os.waitpid(job, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        break
    os.tcsetpgrp(0, os.getpgrp())
    report("stopped")
report(f"ended {os.waitstatus_to_exitcode(status)}")
