"""The shape of the source: the size of its modules, where its SQL is, what the package exports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import belayed

SOURCE = Path(__file__).parents[2] / "src" / "belayed"
MODULES = sorted(SOURCE.rglob("*.py"))

# Statements on tables. BEGIN, PRAGMA and the like are the business of connections.
SQL = re.compile(
    r"\bSELECT\b.+\bFROM\b|\bINSERT\s+INTO\b|\bUPDATE\s+\S+\s+SET\b|\bDELETE\s+FROM\b|\bMERGE\s+INTO\b|\bTRUNCATE\s+TABLE\b"
    r"|\b(CREATE|ALTER|DROP)\s+(UNIQUE\s+)?(TABLE|INDEX|VIEW|SCHEMA|TYPE|FUNCTION)\b",
    re.DOTALL,
)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_has_at_most_400_lines(module):
    lines = module.read_text().splitlines()

    assert len(lines) <= 400


REMEDIES = SOURCE / "store" / "serverfindings.py"
"""What it tells operators to type is never sent to a database."""


@pytest.mark.parametrize(
    "module", [module for module in MODULES if module != REMEDIES], ids=lambda path: str(path.relative_to(SOURCE))
)
def test_no_module_has_sql_in_it(module):
    found = [(line, text) for line, text in texts(module.read_text()) if SQL.search(text)]

    assert found == [], "SQL belongs into store/sql or store/migrations"


@pytest.mark.parametrize("module", sorted((SOURCE / "cli").rglob("*.py")), ids=lambda path: path.name)
def test_commands_print_only_by_what_makes_texts_safe(module):
    printing = re.compile(r"\b(click\.s?echo\w*|print|sys\.std(out|err)\.write)\(")

    found = printing.findall(module.read_text()) if module.name != "show.py" else []

    assert found == [], "print by the functions of belayed.cli.show: what a row holds may steer a terminal"


def test_sql_in_a_text_is_found_and_sql_in_a_docstring_is_not():
    source = '"""SELECT a FROM b"""\nx = f"INSERT INTO {table} VALUES (1)"\ny = "please SELECT one"\n'

    found = [line for line, text in texts(source) if SQL.search(text)]

    assert found == [2]


@pytest.mark.skipif(not (SOURCE / "__init__.py").exists(), reason="the package exports nothing yet")
def test_all_names_exactly_what_the_package_exports():
    exported = {
        name
        for name, value in vars(belayed).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name != "annotations"
    }

    missing = [name for name in belayed.__all__ if not hasattr(belayed, name)]

    assert missing == []
    assert exported - set(belayed.__all__) == set()


def texts(source: str) -> Iterator[tuple[int, str]]:
    """The line and value of each text in *source* that is no docstring."""
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value
