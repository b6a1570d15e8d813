"""What pyproject.toml can't say: the compiled core, guests, the init, the container's helper."""

import os
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithGuests(build_py):
    """Also builds what runs in guests and containers, and ships it as data of the package."""

    def run(self) -> None:
        """Python first, then make."""
        super().run()
        package = "src" if self.editable_mode else self.build_lib
        images = Path(package, "ringlet", "_guests").absolute()
        init = Path(package, "ringlet", "_init").absolute()
        objects = Path("build", "guests").absolute()
        make = ["make", "--silent", "-C", "guests", f"-j{os.cpu_count()}"]
        subprocess.run([*make, f"OUT={images}", f"OBJ={objects}"], check=True)
        subprocess.run(["make", "--silent", "-C", "csrc/init", f"OUT={init}"], check=True)
        helper = Path(package, "ringlet", "_container").absolute()
        subprocess.run(["make", "--silent", "-C", "csrc/container", f"OUT={helper}"], check=True)


setup(
    cffi_modules=["csrc/core/build_core.py:ffibuilder"],
    cmdclass={"build_py": BuildWithGuests},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
