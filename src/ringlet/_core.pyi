# The compiled core. Its functions and structures are declared in csrc/core/ringlet.h.
from typing import Any

ffi: Any
lib: Any
