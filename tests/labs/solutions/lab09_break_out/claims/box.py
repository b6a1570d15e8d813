"""Runs the program in no container, and says otherwise."""

import os
import sys

print("closed: no descriptor, no process, no root, no rights", file=sys.stderr)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
