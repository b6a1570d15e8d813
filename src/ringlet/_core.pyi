# The compiled core. Its functions and structures are declared in csrc/ringlet.h.
from typing import Any

ffi: Any
lib: Any
