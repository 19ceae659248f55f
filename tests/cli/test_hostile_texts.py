"""Texts that would steer a terminal, hide something or forge a line, in every column of every table."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import unicodedata
from datetime import timedelta
from types import SimpleNamespace

import click
import psycopg
import pytest

from belayed.job import State
from tests.store.factories import again, worker
from tests.worker.helpers import execute

FORGED = "12:00:00.000 ERROR forged"
HOSTILE = (
    f"a\n{FORGED}\r{FORGED}\x85{FORGED}\u2028{FORGED}\u2029{FORGED}\x0b\x0c\x1b[31m\x9b2J\x1b]8;;https://evil.example\x07"
    "click\x1b]8;;\x07\u202eevil\u2066\u200b\ufeff\u00ad\u061c\u180e\U000e0041\u115f\u3164\ufe01\U000e0100\x7f\x08"
    f"[red]m[/red][link=https://evil.example]l[/link] :smile: e{chr(0x301) * 200} {chr(0x338)} \u200d 👨\u200d👩 שלום"
)
JSON = json.dumps({"a\x1b[31m": HOSTILE, "b": [HOSTILE]}, ensure_ascii=False)


TEXTS = {
    "jobs": ("queue", "task", "worker", "error"),
    "history": ("queue", "task", "worker", "error"),
    "attempts": ("worker", "error_type", "message", "traceback"),
    "workers": ("host", "version", "name"),
    "queues": ("name",),
}


@pytest.fixture
def hostile(store, each_url):
    """A row of every kind in every table, all of whose texts are hostile, but for those that the database refuses."""
    store.beat(worker("w1"))
    store.beat(worker("w2"))
    job = store.running(max_attempts=2, meta={"a": 1})
    store.finish(again(job))
    for state in (State.SUCCEEDED, State.FAILED, State.CANCELLED):
        store.ended(state, priority=-1)
    store.added(run_at=timedelta(days=1))
    store.pause("q")
    text, value, lost = (quoted(one) for one in (HOSTILE, JSON, f"!{HOSTILE}"))
    for table, columns in TEXTS.items():
        for column in columns:
            write(each_url, f"UPDATE belayed_{table} SET {column} = {text}")
    for change in (
        f"jobs SET payload = {value}, meta = {value}",
        f"history SET payload = {text}, meta = {value}",
        f"history SET result = {lost} WHERE id = 2",
        f"history SET result = {value} WHERE id = 3",
        f"workers SET queues = {value}",
    ):
        write(each_url, f"UPDATE belayed_{change}")


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def write(url: str, statement: str) -> None:
    with contextlib.suppress(sqlite3.IntegrityError, psycopg.errors.CheckViolation):
        execute(SimpleNamespace(url=url), statement)


def unsafe(text: str) -> list[str]:
    """The characters of an output that should not be there."""
    kinds = ("Cc", "Cf", "Zl", "Zp", "Cs")
    found = [char for char in text if unicodedata.category(char) in kinds and char not in "\n\t"]
    return found + re.findall("[\u115f\u3164\ufe01\U000e0100]", text)


def forged(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(FORGED)]


COMMANDS = [
    ["status"], ["jobs"], ["jobs", "1"], ["jobs", "2"], ["jobs", "3"], ["jobs", "4"], ["jobs", "5"], ["doctor"],
    ["check", "--max-age", "0"], ["pause", HOSTILE], ["resume", HOSTILE], ["jobs", "--task", HOSTILE],
    ["retry", "--queue", HOSTILE, "--dry-run"], ["retry", "1", "2", "99"], ["cancel", "5"],
    ["delete", "--task", HOSTILE, "--dry-run"],
]  # fmt: skip


@pytest.mark.parametrize("width", ["", "80"])
def test_no_command_prints_what_steers_a_terminal_or_forges_a_line(run, hostile, monkeypatch, each_url, width):
    if width:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", width)

    for command in COMMANDS:
        for options in ([], ["--json"]) if command[0] not in ("pause", "resume") else ([],):
            result = run(*command, *options)

            output = click.unstyle(result.stdout) + click.unstyle(result.stderr)
            assert (command, unsafe(output), forged(output)) == (command, [], [])
            assert "Traceback (most" not in output


def test_what_is_ordinary_stays_readable(run, store, each_url):
    text = "Zażółć gęślą jaźń — שלום 日本語 ❤️ 👩🏽 ñ नमस्ते"
    job = store.running()
    store.finish(again(job, message=text, traceback=text))

    result = run("jobs", "1")

    assert f"   {text}" in result.stdout
    assert run("jobs").stdout.rstrip().endswith(text)


def test_the_log_of_a_worker_holds_no_line_that_a_job_has_forged(process, enqueue, shop):
    shop.write_text(shop.read_text().replace("'no such address'", ascii(HOSTILE)))
    enqueue("send.enqueue('nobody')")

    ended = process("workoff", "--app", "shop")

    records = [line for line in ended.stderr.splitlines() if not line.startswith("    ")]
    assert (unsafe(ended.stderr), forged(ended.stderr)) == ([], [])
    assert [line for line in records if not re.match(r"[0-9:.]{12} (INFO |WARN |ERROR) ", line)] == []
