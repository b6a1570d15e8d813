"""docs/security.md: each advisory has a test, each test that is named exists."""

import ast
import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
PAGE = CHECKOUT / "docs/security.md"
TEXT = PAGE.read_text()
ADVISORY = re.compile(r"CVE-\d{4}-\d+|GHSA(?:-\w{4}){3}")
NAMED = re.compile(r"\[`(test_\w+)`\]\(([^)]+)\)")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in TEXT.splitlines()
    if re.match(r"\| (CVE|GHSA)-", line)
]


def names_in(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text()).body if hasattr(node, "name")}


def test_the_page_has_rows() -> None:
    assert len(ROWS) > 30


@pytest.mark.parametrize("row", ROWS, ids=lambda row: ADVISORY.search(row[0])[0])
def test_each_advisory_has_a_test(row: list[str]) -> None:
    assert len(row) == 4
    assert all(row)
    assert NAMED.search(row[3]) or row[3] == "nothing to try"


@pytest.mark.parametrize(("name", "path"), sorted(set(NAMED.findall(TEXT))))
def test_each_test_that_is_named_exists(name: str, path: str) -> None:
    assert name in names_in((PAGE.parent / path).resolve())


def test_each_advisory_that_the_code_or_a_test_names_has_a_row() -> None:
    listed = {one for row in ROWS for one in ADVISORY.findall(row[0])}
    folders = ("tests/container", "tests/nested", "src/ringlet/container", "csrc/container")
    files = [path for folder in folders for path in (CHECKOUT / folder).rglob("*.[cp]*")]
    named = {
        one
        for path in files
        if path.suffix in (".c", ".py")
        for one in ADVISORY.findall(path.read_text())
    }
    assert named - listed == set()


def test_no_step_is_left_out_of_the_order() -> None:
    sources = [path.read_text() for path in (CHECKOUT / "csrc/container").glob("*.c")]
    steps = set(re.findall(r"^void step_(\w+)\(void\)", "\n".join(sources), re.MULTILINE))
    assert len(steps) > 60
    order = TEXT.split("## The order of steps")[1].split("## What is known")[0]
    named = {word for words in re.findall(r"`([^`]+)`", order) for word in words.split(" ")}
    assert steps - named == set(), "docs/security.md has a table of the steps"
