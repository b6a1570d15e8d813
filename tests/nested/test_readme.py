"""The README's program with a Linux guest does what it says."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_a_command_in_a_guest_has_the_output_that_the_comment_says(cloud_kernel: Path) -> None:
    programs = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (program,) = (program for program in programs if "ringlet.linux" in program)
    (said,) = re.findall(r"# (.*)$", program, re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-c", program.replace("/boot/vmlinuz", str(cloud_kernel))],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == (said, "")
