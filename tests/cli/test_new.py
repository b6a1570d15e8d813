"""`ringlet new`: a folder for a guest of one's own; which guest `ringlet boot` takes in there."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from ringlet.machine.guests import MAX_NAME

from ..kit import KIT, make, new
from .command import ENVIRONMENT, Running, refused, run, run_as_nobody

pytestmark = pytest.mark.needs_gcc


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a guest that has the name of one that comes with ringlet, built."""
    folder = new(tmp_path_factory.mktemp("new"), "hello")
    done = make(folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_folder_has_the_guest_a_makefile_a_readme_and_the_whole_library(tmp_path: Path) -> None:
    folder = new(tmp_path, "first")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "Makefile",
        "README.md",
        "first.c",
        "lib",
    ]
    sources = {path.name: path.read_bytes() for path in (KIT / "lib").iterdir()}
    assert {path.name: path.read_bytes() for path in (folder / "lib").iterdir()} == sources
    for path in folder.glob("*.*"):
        assert "@" not in path.read_text()


def test_the_kit_has_the_library_of_the_checkout_and_nothing_else() -> None:
    library = Path(__file__).parents[2] / "guests/lib"
    assert {path.name: path.read_bytes() for path in library.iterdir()} == {
        path.name: path.read_bytes() for path in (KIT / "lib").iterdir()
    }


@pytest.mark.needs_kvm
def test_make_run_builds_and_boots(tmp_path: Path) -> None:
    folder = new(tmp_path, "first")
    done = make(folder, "run", "ARGS=--cmdline 'one two'")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(
        "  link     first.elf\nHello from first, in ring 0!\nMy command line is: one two\n"
    )
    assert done.stderr == ""


@pytest.mark.needs_kvm
def test_the_folder_builds_and_runs_in_a_folder_with_a_space_in_its_name(tmp_path: Path) -> None:
    place = tmp_path / "a course's (first) week"
    place.mkdir()
    done = make(new(place, "my-guest_2"), "run")
    assert done.stdout.endswith("Hello from my-guest_2, in ring 0!\n"), done.stderr


def test_make_debug_calls_the_debugger(built: Path) -> None:
    done = make(built, "debug", "RINGLET=echo")
    assert done.stdout.splitlines()[-1] == "debug hello.elf"


def test_make_clean_leaves_what_new_has_made(tmp_path: Path) -> None:
    folder = new(tmp_path, "first")
    before = sorted(folder.rglob("*"))
    assert make(folder).returncode == 0
    assert sorted(folder.rglob("*")) != before
    assert make(folder, "clean").returncode == 0
    assert sorted(folder.rglob("*")) == before


def test_make_builds_again_what_has_changed(tmp_path: Path) -> None:
    folder = new(tmp_path, "first")
    assert "  compile  lib/print.c\n" in make(folder).stdout
    assert "up to date" in make(folder).stdout
    os.utime(folder / "lib/pc.h", (2**31, 2**31))
    assert "  compile  first.c\n" in make(folder).stdout


@pytest.mark.needs_kvm
def test_all_c_and_assembly_files_of_the_folder_are_parts_of_the_guest(tmp_path: Path) -> None:
    program = '#include "guest.h"\nint two(void), three(void);\n'
    program += "int main(const struct hvm_start_info *) { return two() + three(); }\n"
    folder = new(tmp_path, "first", program)
    (folder / "two.c").write_text("int two(void);\nint two(void) { return 2; }\n")
    (folder / "three.S").write_text(".globl three\nthree: mov $3, %eax\n ret\n")
    done = make(folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert run("boot", cwd=folder).returncode == 5


@pytest.mark.needs_kvm
def test_boot_of_no_image_boots_what_the_folder_builds(built: Path) -> None:
    done = run("boot", cwd=built)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Hello from hello, in ring 0!\n"
    assert run("boot", "--show", cwd=built).stdout.startswith("hello.elf: 1 vCPU")


@pytest.mark.needs_kvm
def test_boot_of_a_name_boots_what_the_folder_builds_and_says_so(built: Path) -> None:
    done = run("boot", "hello", cwd=built)
    assert done.stdout == "Hello from hello, in ring 0!\n"
    note = "booting the file hello.elf of this folder, not the guest that comes with ringlet"
    assert done.stderr == f"ringlet: {note}\n"


@pytest.mark.needs_kvm
def test_boot_of_another_guests_name_boots_the_one_that_comes_with_ringlet(built: Path) -> None:
    done = run("boot", "halt", cwd=built)
    assert (done.stdout, done.stderr) == ("Halting with interrupts off.\n", "")


@pytest.mark.needs_kvm
def test_beside_the_folder_boot_says_that_it_boots_the_other_guest(built: Path) -> None:
    done = run("boot", "hello", cwd=built.parent)
    assert done.stdout == "Hello, ring 0!\n"
    assert "not the guest of the folder hello" in done.stderr


@pytest.mark.parametrize("words", [[], ["hello"]])
def test_before_make_boot_says_what_to_do(words: list[str], tmp_path: Path) -> None:
    done = run("boot", *words, cwd=new(tmp_path, "hello"))
    assert refused(done) == "the guest hello of this folder isn't built"
    assert "run `make`" in done.stderr


def test_beside_the_folder_boot_says_where_to_go(tmp_path: Path) -> None:
    new(tmp_path, "first")
    done = run("boot", "first", cwd=tmp_path)
    assert refused(done) == "first is a folder that builds a guest"
    assert "cd first" in done.stderr


def test_without_such_a_folder_an_image_has_to_be_named(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("GUEST := not a name\n\xff\nall:\n", encoding="latin-1")
    assert refused(run("boot", cwd=tmp_path)) == "no image is named"


@pytest.mark.parametrize("name", ["a/b", "../a", "", ".", "9a", "-a", "a b", "é", "a\nb", "a.c"])
def test_a_name_that_no_guest_can_have_is_refused(name: str, tmp_path: Path) -> None:
    message = refused(run("new", "--", name, cwd=tmp_path))
    assert message.endswith("can't be the name of a guest")
    assert list(tmp_path.iterdir()) == []


def test_the_longest_name_and_no_longer_one(tmp_path: Path) -> None:
    new(tmp_path, "a" * MAX_NAME)
    refused(run("new", "a" * (MAX_NAME + 1), cwd=tmp_path))


def test_what_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("mine")
    (tmp_path / "link").symlink_to("elsewhere")
    for name in ("file", "full", "link"):
        assert refused(run("new", name, cwd=tmp_path)) == f"there is {name} in this folder already"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "file", "full", "link"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    assert (new(tmp_path, "first") / "first.c").is_file()


@pytest.mark.needs_root
def test_in_a_folder_that_cannot_be_written_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    message = refused(run_as_nobody("new", "first"))
    assert message == "the folder first can't be made: Permission denied"


@pytest.mark.needs_mount_namespace
def test_on_a_full_disk_nothing_is_left(tmp_path: Path) -> None:
    small = f"mount -t tmpfs -o size=32k none {tmp_path}; cd {tmp_path}; trap 'ls -A >&2' EXIT"
    before = ["unshare", "--mount", "sh", "-c", f'{small}; "$@"', "sh"]
    done = run("new", "first", before=before)
    message, _, *left = done.stderr.splitlines()
    assert message == "ringlet: the folder first can't be made: No space left on device"
    assert left == []


def test_a_signal_leaves_nothing_half_made(tmp_path: Path) -> None:
    for delay in range(10, 300, 20):
        with Running("new", "first", cwd=tmp_path) as command:
            signal.sigtimedwait([], delay / 1000)
            command.process.send_signal(signal.SIGINT)
            command.status()
        names = [path.name for path in tmp_path.iterdir()]
        assert names in ([], ["first"])
        if names:
            assert (tmp_path / "first/lib/guest.h").is_file()
            assert (tmp_path / "first/first.c").is_file()
            shutil.rmtree(tmp_path / "first")


@pytest.mark.parametrize(("words", "meant"), [(["--nam", "a"], "--nam"), ([], "NAME")])
def test_wrong_words_are_answered_in_two_lines(words: list[str], meant: str) -> None:
    assert meant in refused(run("new", *words))


def test_help_has_examples() -> None:
    assert "ringlet new first" in run("new", "--help").stdout


def programs(folder: Path, *names: str) -> str:
    """A PATH with these programs alone."""
    folder.mkdir()
    for name in names:
        path = shutil.which(name)
        assert path is not None
        (folder / name).symlink_to(path)
    return str(folder)


def test_the_makefile_says_what_to_install(tmp_path: Path) -> None:
    folder = new(tmp_path, "first")
    path = {"PATH": programs(tmp_path / "bin", "sh", "mkdir", "make")}
    done = make(folder, env=path)
    assert done.returncode != 0
    assert "there is no gcc: apt install gcc\n" in done.stderr
    assert make(folder).returncode == 0
    done = make(folder, "run", "RINGLET=ringlet", env=path)
    assert "there is no ringlet: activate the virtual environment that has it" in done.stderr


def test_new_says_what_the_build_will_miss(tmp_path: Path) -> None:
    done = run("new", "first", cwd=tmp_path, env=ENVIRONMENT | {"PATH": str(tmp_path)})
    assert done.returncode == 0
    assert done.stdout.endswith("Install what is missing: apt install gcc make\n")
