"""Every wait of a test becomes longer where the machine is busy."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
WITH_SECONDS = {"wait", "join", "result", "communicate", "acquire"}
"""The methods whose only argument is how long they wait."""
LEAST = 3
"""Seconds. What waits for less is to run into its limit."""


def is_literal(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float) and float(node.value) >= LEAST


def is_now(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node) in (
        "time.monotonic()",
        "time.perf_counter()",
        "time.time()",
    )


def limits(tree: ast.AST) -> Iterator[ast.expr]:
    """What says how long something may take."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=name), args=[limit]) if name in WITH_SECONDS:
                yield limit
            case ast.Call(func=ast.Name(id="select"), args=[_, _, _, limit]):
                yield limit
            case ast.Call(func=ast.Attribute(attr="wait_for"), args=[_, limit]):
                yield limit
            case ast.Assign(targets=[ast.Name() | ast.Tuple()], value=value):
                for sum in value.elts if isinstance(value, ast.Tuple) else [value]:
                    if isinstance(sum, ast.BinOp) and is_now(sum.left):
                        yield sum.right
            case ast.Compare(left=left, comparators=others, ops=ops):
                for operator, one, limit in zip(ops, [left, *others], others, strict=False):
                    if isinstance(operator, ast.Lt | ast.LtE) and isinstance(one, ast.BinOp) and is_now(one.left):
                        yield limit
        if isinstance(node, ast.Call):
            yield from (keyword.value for keyword in node.keywords if keyword.arg == "timeout")


def impatient(text: str) -> list[int]:
    """The lines of waits that are as long on every machine."""
    return sorted({limit.lineno for limit in limits(ast.parse(text)) if is_literal(limit)})


def test_each_wait_of_a_test_is_a_patient_one() -> None:
    # Chaos has a patience of its own.
    files = [path for path in TESTS.rglob("*.py") if path.parent.name != "chaos" or path.name == "test_chaos.py"]

    found = [f"{path.relative_to(TESTS)}:{line}" for path in files for line in impatient(path.read_text("utf-8"))]

    assert len(files) > 200
    assert found == [], "write patient(seconds), of tests/patience.py"


@pytest.mark.parametrize(
    "text",
    [
        "job.wait(10)",
        "thread.join(timeout=20)",
        "subprocess.run(command, timeout=60)",
        "assert select([listener], [], [], 10)[0]",
        "deadline = time.monotonic() + 30",
        "heard, deadline = '', time.monotonic() + 60",
        "assert 0.5 < time.monotonic() - begun < 10",
        "await asyncio.wait_for(full.wait(), 20)",
    ],
)
def test_one_that_is_not_is_found(text: str) -> None:
    assert impatient(text) == [1]


@pytest.mark.parametrize(
    "text",
    [
        "job.wait(patient(10))",
        "with raises(WaitTimeout): job.wait(0.1)",
        "one.tend(time.monotonic() + 100)",
        "', '.join(names)",
        "assert time.monotonic() - begun >= 5",
    ],
)
def test_what_is_no_wait_is_let_be(text: str) -> None:
    assert impatient(text) == []


@pytest.mark.parametrize(("given", "seconds"), [(None, "10.0"), ("", "10.0"), ("3", "30.0"), ("0.5", "5.0")])
def test_the_variable_makes_waits_longer(given: str | None, seconds: str) -> None:
    ended = asked(given)

    assert (ended.stdout.strip(), ended.stderr) == (seconds, "")


@pytest.mark.parametrize("given", ["much", "0", "-1", "nan", "inf"])
def test_a_patience_that_is_not_a_number_is_refused(given: str) -> None:
    ended = asked(given)

    assert f"BELAYED_TEST_PATIENCE is {given!r}: it takes a number such as 3" in ended.stderr


def asked(given: str | None) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name != "BELAYED_TEST_PATIENCE"}
    if given is not None:
        variables["BELAYED_TEST_PATIENCE"] = given
    code = "from tests.patience import patient; print(patient(10))"
    return subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=TESTS.parent, env=variables
    )
