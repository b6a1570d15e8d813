"""The library of guests (guests/lib), as a folder of `ringlet new` has it, in real KVM."""

import itertools
import re
import subprocess
from pathlib import Path

import pytest

from ringlet import Machine, MachineConfig
from ringlet.boot.image import open_image
from ringlet.boot.symbols import image_symbols

from .kit import build, make, new

pytestmark = [pytest.mark.needs_kvm, pytest.mark.needs_gcc]

CHECKOUT = Path(__file__).parents[1]
GUESTS = CHECKOUT / "guests"
START = '#include "guest.h"\n\n'
MAIN = "int main(const struct hvm_start_info *info) {\n    (void)info;\n"


def boot(image: Path, **options: object) -> tuple[int, str]:
    """The status that the guest ended with, and what it wrote."""
    with Machine(MachineConfig(image=image, serial="pipe", timeout=60, **options)) as machine:
        machine.start()
        output = b"".join(iter(machine.serial.read, b""))
        result = machine.wait()
    assert result is not None
    return result.status, output.decode()


def functions() -> dict[str, str]:
    """What the library's headers declare for C, as gcc sees it: functions, each with its header."""
    headers = "".join(f'#include "{path.name}"\n' for path in (GUESTS / "lib").glob("virtio*.h"))
    seen = subprocess.check_output(
        [
            "gcc",
            "-aux-info",
            "/dev/stdout",
            "-fsyntax-only",
            "-ffreestanding",
            "-Ilib",
            "-x",
            "c",
            "-",
        ],
        cwd=GUESTS,
        input=headers,
        text=True,
    )
    found = re.findall(r"/\* lib/(\w+\.h):\d+:\w+ \*/.*?(\w+) \(", seen)
    return {name: header for header, name in found}


# The functions that gcc calls of its own accord: a guest of this file uses them.
OF_C = {"memcpy", "memmove", "memset", "memcmp"}


def test_the_headers_declare_functions_and_gcc_finds_them() -> None:
    assert OF_C | {"print", "outb", "disk_do", "set_interrupt_handler"} <= set(functions())


def test_each_function_is_called_by_a_guest_that_comes_with_ringlet() -> None:
    """tests/test_guests.py, and tests/test_guest_NAME.py for some, boot these guests."""
    sources = [path for path in GUESTS.glob("*/*.c") if path.parent.name != "kit"]
    text = "\n".join(path.read_text() for path in sources)
    code = re.sub(r"//.*", "", text)
    # A definition begins at the beginning of a line, a call does not.
    called = set(re.findall(r"\b(\w+)\(", "".join(re.findall(r"^\s.*\n", code, re.MULTILINE))))
    assert set(functions()) - called - OF_C == set()


LENGTHS = {"hh": "char", "h": "short", "": "int", "l": "long", "ll": "long long"}
SIZES = {"z": "size_t", "t": "long", "j": "long"}
VALUES = ("0", "1", "-1", "42", "0x7fffffff", "0x80000000", "0x8000000000000000", "123456789012345")


def conversions() -> list[tuple[str, str]]:
    """Formats, each with its argument: all that print() knows."""
    widths = ["", "1", "4", "20", "70"]
    made = []
    for flags, width, length, letter in itertools.product(
        ["", "-", "0"], widths, [*LENGTHS, *SIZES], "diux"
    ):
        kind = (LENGTHS | SIZES)[length].replace("size_t", "unsigned long")
        kind = f"unsigned {kind}".replace("unsigned unsigned", "unsigned")
        signed = kind.removeprefix("unsigned ")
        for value in VALUES:
            to = signed if letter in "di" else kind
            made.append((f"%{flags}{width}{length}{letter}", f"({to}){value}"))
    for flags, width in itertools.product(["", "-"], widths):
        made += [(f"%{flags}{width}s", f'"{text}"') for text in ("", "a", "a longer text")]
        made += [(f"%{flags}{width}c", "'x'"), (f"%{flags}{width}p", "(void *)0x12345678abcd")]
    return [*made, ("%% 100%%", "0"), ("", "0"), ("no conversion", "0")]


@pytest.mark.slow
def test_print_means_what_printf_means(tmp_path: Path) -> None:
    lines = [f'    P("{form}|\\n", {argument});\n' for form, argument in conversions()]
    parts = [lines[at : at + 500] for at in range(0, len(lines), 500)]
    lines = [
        f"void part_{n}(void);\nvoid part_{n}(void) {{\n{''.join(p)}}}\n"
        for n, p in enumerate(parts)
    ]
    calls = "".join(f"    part_{number}();\n" for number in range(len(parts)))
    ignore = '#pragma GCC diagnostic ignored "-Wformat-extra-args"\n'
    ignore += '#pragma GCC diagnostic ignored "-Wformat-zero-length"\n'
    ignore += '#pragma GCC diagnostic ignored "-Wtype-limits"\n'
    body = f"{ignore}{''.join(lines)}"
    program = f"#define P print\n{START}{body}{MAIN}{calls}    return 0;\n}}\n"
    status, shown = boot(build(tmp_path, "formats", program))
    assert status == 0
    (tmp_path / "host.c").write_text(
        f"#define P printf\n#include <stdio.h>\n{body}int main(void) {{\n{calls}    return 0;\n}}\n"
    )
    subprocess.run(["gcc", "-w", "-o", "host", "host.c"], cwd=tmp_path, check=True)
    expected = subprocess.run(
        [tmp_path / "host"], capture_output=True, text=True, check=True
    ).stdout
    assert len(expected.splitlines()) > 3000
    assert shown.splitlines() == expected.splitlines()


@pytest.mark.parametrize("statement", ['print("%#x and %s\\n", 1, "text")', 'print("%.3d\\n", 1)'])
def test_print_shows_a_conversion_that_it_does_not_know(statement: str, tmp_path: Path) -> None:
    image = build(tmp_path, "unknown", f"{START}{MAIN}    {statement};\n    return 0;\n}}\n")
    shown = boot(image)
    assert shown == (0, statement.split('"')[1].replace("\\n", "\n"))


@pytest.mark.parametrize(
    "arguments",
    [
        '"%s", 1',
        '"%lu", 1',
        '"%d", 1l',
        '"%d"',
        '"%d", 1, 2',
        '"%lx", info',
        '"%y", 1',
        "(const char *)info",
    ],
)
def test_a_wrong_format_is_an_error_of_the_compiler(arguments: str, tmp_path: Path) -> None:
    folder = new(tmp_path, "wrong", f"{START}{MAIN}    print({arguments});\n    return 0;\n}}\n")
    done = make(folder)
    assert done.returncode != 0
    assert "error: " in done.stderr
    assert "-Werror=format" in done.stderr
    assert not (folder / "wrong.elf").exists()


MEMORY = """
struct big { char bytes[3000]; };
static char from[100], to[100];
static volatile size_t size = 50;

static int differ(struct big one, const struct big *other) {
    return memcmp(&one, other, sizeof one);
}

static int check(const char *what, int holds) {
    print("%s: %s\\n", what, holds ? "ok" : "WRONG");
    return !holds;
}
"""
MEMORY_MAIN = """
    int wrong = 0;
    struct big one = {{0}}, other = one;
    wrong += check("gcc's own calls", !differ(one, &other));
    other.bytes[2999] = 1;
    wrong += check("memcmp less", differ(one, &other) < 0);
    wrong += check("memcmp more", memcmp("b", "a", 1) > 0 && memcmp("\\xff", "\\1", 1) > 0);
    wrong += check("memcmp nothing", memcmp("a", "b", 0) == 0);
    for (char i = 0; i < 100; i++)
        from[(int)i] = i;
    wrong += check("memcpy", memcpy(to + 1, from, size + 1) == to + 1 && !memcmp(to + 1, from, 51));
    wrong += check("memcpy no more", to[0] == 0 && to[52] == 0);
    wrong += check("memset", memset(to + 3, 0x1a5, size + 3) == to + 3);
    for (int i = 3; i < 56; i++)
        wrong += (uint8_t)to[i] != 0xa5;
    wrong += check("memset no more", to[2] == 1 && to[56] == 0);
    wrong += check("memmove up", memmove(from + 10, from, size) == from + 10);
    for (int i = 0; i < 50; i++)
        wrong += from[10 + i] != i;
    wrong += check("memmove up no more", from[60] == 60 && from[9] == 9);
    wrong += check("memmove down", memmove(from + 3, from + 10, size) == from + 3);
    for (int i = 0; i < 50; i++)
        wrong += from[3 + i] != i;
    wrong += check("memmove nothing", memmove(to, to, 0) == to);
    return wrong;
}
"""


def test_the_functions_that_gcc_calls_do_what_those_of_c_do(tmp_path: Path) -> None:
    status, shown = boot(build(tmp_path, "memory", START + MEMORY + MAIN + MEMORY_MAIN))
    assert "WRONG" not in shown
    assert status == 0


def test_a_null_pointer_is_a_page_fault_that_is_told(tmp_path: Path) -> None:
    program = f"{START}{MAIN}    int *nothing = NULL;\n    return *nothing;\n}}\n"
    status, shown = boot(build(tmp_path, "null", program))
    assert status == 71
    assert "page fault" in shown
    assert "a null pointer\n" in shown


def test_the_symbols_stand_beside_the_image(tmp_path: Path) -> None:
    image = build(tmp_path, "first")
    with open_image(image) as opened:
        assert image_symbols(opened).address_of("main") is not None
    read = subprocess.run(
        ["readelf", "--sections", "--wide", image, image.with_suffix(".debug")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    of_image, of_debug = read.split("File: ")[1:]
    assert ".gnu_debuglink" in of_image
    assert ".symtab" not in of_image
    assert ".debug_info" not in of_image
    assert ".debug_info" in of_debug
    assert ".debug_line" in of_debug


# Guests that come with ringlet: what they need to be told, and their last line.
OTHERS = {
    "blk": ({"disks": ("disk",)}, (), "interrupts, "),
    "entropy": ({"entropy": True}, (), "\n"),
    "rings": ({}, ("LDFLAGS=-Wl,--section-start=.user=0x400000",), "ring 0: exit\n"),
    "smp": ({"cpus": 2}, (), "2 in all\n"),
    "timer": ({}, (), "tick 5\n"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_library_works_as_the_folder_compiles_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, words, end = OTHERS[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "disk").write_bytes(bytes(1 << 16))
    folder = new(tmp_path, name)
    for path in (GUESTS / name).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    done = make(folder, *words)
    assert (done.returncode, done.stderr) == (0, "")
    status, shown = boot(folder / f"{name}.elf", **options)
    assert status == 0
    assert end in f"{shown.splitlines()[-1]}\n"


def test_a_guest_without_a_first_comment_builds(tmp_path: Path) -> None:
    assert boot(build(tmp_path, "bare", START + MAIN + "    return 3;\n}\n"))[0] == 3


def test_a_guest_of_the_checkout_without_a_first_comment_has_no_summary(tmp_path: Path) -> None:
    guests = tmp_path / "guests"
    for name in ("lib", "kit"):
        (guests / name).mkdir(parents=True)
    for path in [GUESTS / "Makefile", *(GUESTS / "lib").iterdir(), *(GUESTS / "kit").iterdir()]:
        (guests / path.relative_to(GUESTS)).write_bytes(path.read_bytes())
    (guests / "bare").mkdir()
    (guests / "bare/bare.c").write_text(START + MAIN + "    return 3;\n}\n")
    (guests / "said").mkdir()
    (guests / "said/said.c").write_text("// Says nothing.\n" + START + MAIN + "    return 4;\n}\n")
    make(guests, "build/index.tsv", "build/bare.elf", "FLAT=", "ELF64=")
    assert (guests / "build/index.tsv").read_text() == "bare\t\nsaid\tSays nothing.\n"
    assert boot(guests / "build/bare.elf")[0] == 3
