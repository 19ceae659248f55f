"""Texts for users name pages of the documentation by their titles: a path in the repository is not on their machine."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from belayed.pages import Page

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "belayed"
MODULES = sorted(SOURCE.rglob("*.py"))
OTHERS = sorted(path for path in SOURCE.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc"))
TITLES = {path.read_text("utf-8").partition("\n")[0].removeprefix("# ") for path in (ROOT / "docs").rglob("*.md")}
FOLDERS = "|".join(path.name for path in (ROOT / "docs").iterdir() if path.is_dir() and not path.name.startswith("_"))
PATH = re.compile(rf"\bdocs/|\b\w[\w-]*\.(md|rst)\b|\b({FOLDERS})/[a-z]")
"""What leads to a page in the repository alone."""
NAMED = re.compile(r"""\bPage\.(\w+)\.named\((?:["']([^"']*)["'])?\)""")


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_text_names_a_page_by_its_path(module):
    found = [(line, text) for line, text in texts(module.read_text("utf-8")) if PATH.search(text)]

    assert found == [], "name the page by belayed.pages.Page"


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_file_that_is_shown_to_users_names_a_page_by_its_path(path):
    assert PATH.findall(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("See docs/learn/x.md for it.", True),
        ("see learn/transactions", True),
        ("see faults.md", True),
        ("see 'Settings' on the page 'Django' of Belayed's documentation", False),
        ("application/json", False),
    ],
)
def test_a_path_is_told_from_other_texts(text, found):
    assert bool(PATH.search(text)) is found


def test_each_page_that_texts_name_has_that_title():
    assert [page.value for page in Page if page.value not in TITLES] == []


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_each_part_of_a_page_that_texts_name_is_one_of_its_headings(module):
    found = NAMED.findall(module.read_text("utf-8"))

    assert [(page, part) for page, part in found if part and part not in headings(Page[page])] == []


def test_a_page_is_named_by_its_title():
    assert Page.DJANGO.named() == "the page 'Django' of Belayed's documentation"
    assert Page.DJANGO.named("Settings") == "'Settings' on the page 'Django' of Belayed's documentation"


def headings(page: Page) -> list[str]:
    """The headings of a page's parts."""
    pages = [path.read_text("utf-8") for path in (ROOT / "docs").rglob("*.md")]
    return [
        heading
        for text in pages
        if text.startswith(f"# {page.value}\n")
        for heading in re.findall(r"^##+ (.+)$", text, re.MULTILINE)
    ]


def texts(source: str) -> Iterator[tuple[int, str]]:
    """The line and value of each text in *source*, and of each docstring but those of modules: `--help` shows some."""
    tree = ast.parse(source)
    first = tree.body[0].value if tree.body and isinstance(tree.body[0], ast.Expr) else None
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node is not first:
            yield node.lineno, node.value
