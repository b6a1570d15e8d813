"""What docs/extensions makes of the code for the site."""

import ast
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import click
import pytest

import ringlet
from ringlet.cli.group import COMMANDS, cli
from ringlet.container.container import ContainerResult
from ringlet.labs.catalog import labs
from ringlet.machine.config import Disk
from ringlet.oci import commands as oci

TOP = Path(__file__).parents[1]


@pytest.fixture
def extension(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(TOP / "docs")
    return import_module(f"extensions.{request.param}")


def of(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("extension", [name], indirect=True)


@of("excerpts")
def test_an_excerpt_is_the_whole_function_and_no_more(extension: ModuleType) -> None:
    link, _, python = extension.excerpt("VcpuLoop.run", "src/ringlet/machine/runloop.py").partition(
        "\n\n"
    )
    (function,) = ast.parse(python.removeprefix("```python\n").removesuffix("```")).body
    assert isinstance(function, ast.FunctionDef)
    assert function.name == "run"
    line = int(re.findall(r"#L-(\d+)\)", link)[0])
    lines = (TOP / "src/ringlet/machine/runloop.py").read_text().splitlines()
    assert lines[line - 1].strip().startswith("def run(")
    c = extension.excerpt("step_pivot", "csrc/container/pivot.c")
    assert "```c\nvoid step_pivot(void)\n{\n" in c
    assert c.endswith("\n}\n```")
    assert c.count("\n}") == 1


@of("excerpts")
@pytest.mark.parametrize("path", ["src/ringlet/board/bus.py", "csrc/container/pivot.c"])
def test_an_excerpt_that_is_gone_is_an_error(extension: ModuleType, path: str) -> None:
    with pytest.raises(Exception, match=f"{path} has no Gone"):
        extension.excerpt("Gone", path)


@of("command_line")
def test_the_reference_has_each_command_and_each_option(extension: ModuleType) -> None:
    reference = extension.ringlet()
    assert re.findall(r"^## ringlet (\S+)$", reference, re.MULTILINE) == list(COMMANDS)
    for name, text in zip(COMMANDS, reference.split("\n## "), strict=True):
        command = cli.get_command(click.Context(cli), name)
        assert command
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert all(word in text for word in option.opts), (name, option.opts)
    assert re.findall(r"^### ringlet-oci (\S+)$", extension.ringlet_oci(), re.MULTILINE) == list(
        oci.COMMANDS
    )


@of("python_interface")
def test_parameters_in_columns_become_a_list(extension: ModuleType) -> None:
    docstring = [
        "Makes a thing.",
        "",
        "one   the first",
        "      of all",
        "two, three  the rest",
        "",
    ]
    assert extension.columns_to_list([*docstring, "", "Raises `Error`."]) == [
        "Makes a thing.", "",
        "`one`", "   the first", "   of all", "`two, three`", "   the rest", "",
        "Raises `Error`.", "",
    ]  # fmt: skip


@of("python_interface")
def test_the_fields_of_a_named_tuple_are_those_of_its_class(extension: ModuleType) -> None:
    for named_tuple in (ringlet.Result, ringlet.Usage, ContainerResult, Disk):
        fields = [field for field, *_ in extension.fields_of(named_tuple)]
        assert tuple(fields) == named_tuple._fields
    assert extension.fields_of(Disk)[1] == ("readonly", "bool", " = False", "")
    assert extension.fields_of(ringlet.Usage)[2][3] == "bytes"


@of("navigation")
def test_the_parts_of_the_navigation_are_the_lists_of_the_index(extension: ModuleType) -> None:
    index = "# A\n\ntext\n\n## B\n\n- [x](one.md): y\n- [z](two.md)\n\n## C\n\n[three](three.md)\n"
    assert extension.parts(index) == {"B": ["one", "two"]}


def copy_of_docs(folder: Path) -> Path:
    for name in ("docs", "src", "csrc", "guests", "tests"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(TOP / name, folder / name, symlinks=True, ignore=ignore)
    return folder / "docs"


def build(docs: Path, builder: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", builder]
    return subprocess.run(
        [*command, str(docs), str(docs.parent / "site")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "text", "warning"),
    [
        ("disks.md", "[x](gone.md)", "cross-reference target not found: 'gone.md'"),
        ("disks.md", "[x](virtio.md#gone)", "'gone'"),
        ("disks.md", "[x](../src/ringlet/gone.py)", "gone.py"),
        ("disks.md", "[`gone`](../csrc/container/pivot.c)\n<!-- its code -->", "has no gone"),
        ("python.md", "<!-- reference of ringlet.Gone -->", "Gone"),
        ("new.md", "# New", "new.md: WARNING: document isn't included in any toctree"),
    ],
)
def test_the_build_fails(tmp_path: Path, page: str, text: str, warning: str) -> None:
    docs = copy_of_docs(tmp_path)
    with (docs / page).open("a") as file:
        file.write(f"\n{text}\n")
    done = build(docs, "dummy")
    assert done.returncode != 0
    assert warning in done.stderr
    assert done.stderr.count("WARNING") <= 1, done.stderr


@pytest.mark.slow
def test_a_text_of_a_lab_is_a_page_and_its_links_are_those_of_its_folder(tmp_path: Path) -> None:
    docs = copy_of_docs(tmp_path)
    lab = tmp_path / "src/ringlet/labs/lab99_last"
    lab.mkdir(parents=True)
    text = "# Last\n\n[x](../../../../docs/guests.md), [y](vm.c), [z](../lab98/text.md)\n"
    (lab / "text.md").write_text(text)
    (lab / "vm.c").touch()
    (lab.parent / "lab98").mkdir()
    (lab.parent / "lab98/text.md").write_text("# Last but one\n")
    if not (docs / "labs").exists():
        (docs / "labs").symlink_to("../src/ringlet/labs")
    with (docs / "index.md").open("a") as file:
        for name in ("lab98", "lab99_last"):
            file.write(f"- [Last](../src/ringlet/labs/{name}/text.md): the end.\n")
    done = build(docs, "html")
    assert (done.returncode, done.stderr) == (0, "")
    site = tmp_path / "site"
    assert 'href="labs/lab99_last/text.html"' in (site / "index.html").read_text()
    page = (site / "labs/lab99_last/text.html").read_text()
    for target in ("guests.html", "code/src/ringlet/labs/lab99_last/vm.c.html"):
        assert f'href="../../{target}"' in page
    assert 'href="../lab98/text.html">z' in re.sub(r"<span[^>]*>", "", page)


@of("labs")
def test_the_table_of_labs_has_a_line_for_each(extension: ModuleType) -> None:
    lines = extension.table().splitlines()
    assert len(lines) == 2 + len(labs())
    assert lines[2].startswith("| 1. A VM in forty lines of Python")
    assert lines[2].endswith(" | 2 h | `vm.py` |  | any |")
