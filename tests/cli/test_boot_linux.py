"""`ringlet boot` of a Linux kernel where none can run, and with what doesn't go together."""

import json
import shutil
from pathlib import Path

import pytest

from ringlet.kvm.system import System
from ringlet.machine.probe import unsupported_instruction

from ..boot.bzimage_builder import OFFSET, bzimage
from .command import ENVIRONMENT, refused, run

pytestmark = pytest.mark.needs_kvm

ENTRY_64 = OFFSET + 0x200  # of the bzImage's own code
POPCNT = bytes.fromhex("f3480fb8c3")  # popcnt rax, rbx
CMPXCHG16B = bytes.fromhex("f0480fc70f")  # lock cmpxchg16b [rdi]

needs_busybox = pytest.mark.needs_busybox


@pytest.fixture
def vmlinuz(tmp_path: Path) -> Path:
    """Its own code is NOPs; the vmlinux in it halts."""
    path = tmp_path / "vmlinuz"
    path.write_bytes(bzimage())
    return path


@pytest.fixture
def software_kvm() -> None:
    with System() as system:
        if unsupported_instruction(system) is None:
            pytest.skip("needs a KVM that emulates ring 0: this one is hardware's")


# A KVM that can't run it.


@pytest.mark.usefixtures("software_kvm")
def test_a_kvm_that_emulates_ring_0_is_seen_before_the_guest_starts(vmlinuz: Path) -> None:
    result = run("boot", vmlinuz)
    assert "KVM emulates ring 0 and can't run `" in refused(result)
    assert "`ringlet nested -- ringlet boot ...`" in result.stderr
    assert "--force" in result.stderr


@needs_busybox
@pytest.mark.usefixtures("software_kvm")
def test_a_command_changes_nothing_about_it(vmlinuz: Path) -> None:
    result = run("boot", vmlinuz, "--exec", "true")
    assert "KVM emulates ring 0" in refused(result)
    assert "ringlet nested" in result.stderr


@pytest.mark.usefixtures("software_kvm")
def test_programs_are_told_in_json_too(vmlinuz: Path) -> None:
    result = run("boot", vmlinuz, "--json")
    report = json.loads(result.stdout)
    assert report["exit"] == {"reason": "error", "status": 125}
    assert "KVM emulates ring 0" in report["error"]


@pytest.mark.usefixtures("software_kvm")
@pytest.mark.parametrize(
    ("code", "instruction"),
    [(POPCNT, "popcnt rax, rbx"), (CMPXCHG16B, "lock cmpxchg16b xmmword ptr [rdi]")],
)
def test_forced_it_tries_and_says_which_instruction_was_the_last(
    code: bytes, instruction: str, tmp_path: Path
) -> None:
    image = bzimage()
    image[ENTRY_64 : ENTRY_64 + len(code)] = code
    (tmp_path / "vmlinuz").write_bytes(image)
    result = run("boot", tmp_path / "vmlinuz", "--force", "--decompress", "guest")
    assert (result.returncode, result.stdout) == (70, "")
    what, hint, *details = result.stderr.splitlines()
    assert what == f"ringlet: this host's KVM can't run `{instruction}` of the guest"
    assert hint.startswith("   hint: ")
    assert f": {instruction}" in "\n".join(details)


def test_forced_it_runs_what_this_kvm_can(vmlinuz: Path) -> None:
    result = run("boot", vmlinuz, "--force", "--decompress", "host")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


# What doesn't fit into the guest. --force, for all KVMs to come so far.


def test_an_initrd_that_does_not_fit(vmlinuz: Path, tmp_path: Path) -> None:
    (tmp_path / "initrd").write_bytes(bytes(2 << 20))
    result = run("boot", vmlinuz, "--force", "--memory", "4M", "--initrd", tmp_path / "initrd")
    assert "doesn't fit" in refused(result)
    assert "--memory" in result.stderr


def test_a_kernel_that_does_not_fit_says_how_much_it_needs(vmlinuz: Path) -> None:
    result = run("boot", vmlinuz, "--force", "--memory", "2M")
    refused(result)
    assert "--memory 3M" in result.stderr


def test_a_second_module(vmlinuz: Path) -> None:
    modules = ("--module", vmlinuz, "--module", vmlinuz)
    assert "one module" in refused(run("boot", vmlinuz, "--force", *modules))


@pytest.mark.parametrize(("size", "length"), [(255, 256), (2047, 2048), (1 << 20, 5000)])
def test_a_command_line_longer_than_the_kernel_takes(
    size: int, length: int, tmp_path: Path
) -> None:
    (tmp_path / "vmlinuz").write_bytes(bzimage(cmdline_size=size))
    result = run("boot", tmp_path / "vmlinuz", "--force", "--cmdline", "x" * length)
    assert "command line" in refused(result)


def test_a_kernel_cut_short(vmlinuz: Path) -> None:
    vmlinuz.write_bytes(vmlinuz.read_bytes()[:-600])
    assert "cut short" in refused(run("boot", vmlinuz, "--force"))


@pytest.mark.parametrize("cpus", ["-1", "0", "1000", "9" * 40, "x", "", "1.5"])
def test_vcpus_that_cannot_be(cpus: str, vmlinuz: Path) -> None:
    refused(run("boot", vmlinuz, "--force", f"--cpus={cpus}"))


# A command, and what goes with it.


@pytest.mark.parametrize(
    "option", ["--initrd=x", "--module=x", "--serial=stdio", "--com2=none", "--com3=x"]
)
def test_a_command_needs_the_initrd_and_the_serial_lines_itself(option: str, vmlinuz: Path) -> None:
    name = option.removeprefix("--").partition("=")[0]
    assert f"{name}" in refused(run("boot", vmlinuz, "--exec", "true", option))


def test_so_it_does_where_a_configuration_file_names_them(vmlinuz: Path, tmp_path: Path) -> None:
    (tmp_path / "vm.toml").write_text('image = "vmlinuz"\ninitrd = "initrd"\n')
    result = run("boot", "--config", "vm.toml", "--exec", "true", cwd=tmp_path)
    assert "initrd" in refused(result)


@pytest.mark.parametrize("options", [["--verbose"], ["--kernel-modules", "/lib"], ["--file", "x"]])
def test_options_that_go_with_a_command_alone(options: list[str], vmlinuz: Path) -> None:
    assert "--exec" in refused(run("boot", vmlinuz, *options))


@pytest.mark.parametrize("guest", ["hello", "hello16", "echo"])
def test_a_command_runs_in_linux_alone(guest: str) -> None:
    result = run("boot", guest, "--exec", "true")
    assert "Linux" in refused(result)
    assert guest in result.stderr


def test_a_command_without_a_kernel() -> None:
    assert "no kernel" in refused(run("boot", "--exec", "true"))


def test_a_command_in_a_kernel_that_is_missing() -> None:
    assert "no image nosuch" in refused(run("boot", "nosuch", "--exec", "true"))


def test_a_host_without_a_busybox(vmlinuz: Path, tmp_path: Path) -> None:
    result = run("boot", vmlinuz, "--exec", "true", env=ENVIRONMENT | {"PATH": str(tmp_path)})
    assert "no busybox" in refused(result)
    assert "busybox-static" in result.stderr


def test_a_busybox_that_needs_shared_libraries(vmlinuz: Path, tmp_path: Path) -> None:
    shutil.copy("/bin/ls", tmp_path / "busybox")
    result = run("boot", vmlinuz, "--exec", "true", env=ENVIRONMENT | {"PATH": str(tmp_path)})
    assert "shared libraries" in refused(result)
    assert "busybox-static" in result.stderr


@needs_busybox
@pytest.mark.parametrize(
    ("file", "wrong"), [("nosuch", "nosuch: No such file"), (":/x", "PATH[:AT]")]
)
def test_a_file_that_is_none(file: str, wrong: str, vmlinuz: Path) -> None:
    assert wrong in refused(run("boot", vmlinuz, "--exec", "true", "--file", file))


@needs_busybox
@pytest.mark.parametrize("folder", ["nosuch", "empty", "vmlinuz"])
def test_modules_that_are_none(folder: str, vmlinuz: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    options = ("--exec", "true", "--kernel-modules", folder)
    assert "kernel's modules" in refused(run("boot", vmlinuz, *options, cwd=tmp_path))


@needs_busybox
def test_a_command_longer_than_the_kernel_takes_it(vmlinuz: Path) -> None:
    result = run("boot", vmlinuz, "--exec", "true", "--cmdline", "x" * 3000, "--force")
    assert "command line has" in refused(result)
