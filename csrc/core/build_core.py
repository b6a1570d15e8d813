"""Describes the compiled core, `ringlet._core`, to cffi.

The declarations are those of ringlet.h, the one place where they stand.
"""

import os
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).parent

WARNINGS = ["-Wall", "-Wextra", "-Werror"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1"]


def declarations(header: str) -> str:
    """A C header without the preprocessor's lines."""
    return "\n".join(line for line in header.splitlines() if not line.startswith("#"))


ffibuilder = FFI()
ffibuilder.cdef(declarations((HERE / "ringlet.h").read_text()))

# RINGLET_SANITIZE=1 is for the tests of the C core.
options = SANITIZE if os.environ.get("RINGLET_SANITIZE") else ["-O2"]
ffibuilder.set_source(
    "ringlet._core",
    '#include "ringlet.h"',
    sources=[
        f"csrc/core/{name}"
        for name in ("vm.c", "vcpu.c", "kick.c", "virtqueue.c", "terminal.c", "disk.c", "ptrace.c")
    ],
    depends=["csrc/core/ringlet.h", "csrc/core/internal.h"],
    include_dirs=["csrc/core"],
    extra_compile_args=[*options, *WARNINGS],
    extra_link_args=SANITIZE[:1] if options is SANITIZE else [],
    py_limited_api=True,
    define_macros=[("Py_LIMITED_API", "0x030b0000")],
)
