"""A supervisor's connections are opened with what its children say, and a child may say anything."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from belayed.connections.parameters import ConnectionParameters
from belayed.jobs import Jobs
from belayed.worker import connecting
from belayed.worker.frames import LENGTH
from belayed.worker.handed import Child
from tests.connections.conftest import until
from tests.patience import patient
from tests.worker.helpers import eventually, execute
from tests.worker.puppets import HELLO, Puppet, Stage, stage
from tests.worker.tree import tree


def row(password: str = "one", **changed: Any) -> dict[str, Any]:
    return {"given": {"dbname": "shop", "password": password}, "role": None, "commands": [], **changed}


@pytest.fixture
def one() -> Iterator[Stage]:
    with stage() as one:
        yield one


def child(one: Stage, parameters: Any, **changed: Any) -> tuple[Child, Puppet]:
    """A child that has said hello with these parameters."""
    child, puppet = one.child(hello=False)
    puppet.says("hello", {**HELLO, "parameters": parameters, **changed})
    one.nursery.listen(child)
    return child, puppet


def password(parameters: ConnectionParameters) -> str:
    return parameters.given["password"]


def asked(puppet: Puppet) -> int:
    """How often a child was asked how to connect."""
    try:
        return puppet.theirs.recv(1 << 16).count(b'["parameters",null]')
    except BlockingIOError:
        return 0


def connecting_to(one: Stage, threads: ThreadPoolExecutor) -> Future[ConnectionParameters]:
    """What the store's thread connects with, as soon as it is known."""
    return threads.submit(one.children.said)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


def test_a_child_is_asked_before_each_connection(one: Stage, threads: ThreadPoolExecutor) -> None:
    ours, puppet = child(one, row("hello"))
    found = []
    for number in ("two", "three"):
        connection = connecting_to(one, threads)
        until(lambda: asked(puppet))
        puppet.says("parameters", row(number))
        one.nursery.listen(ours)
        found.append(password(connection.result(patient(10))))

    assert found == ["two", "three"]
    assert not puppet.killed


def test_an_application_whose_url_says_all_is_not_asked(one: Stage) -> None:
    _, puppet = child(one, None)

    assert one.children.said.parameters is None
    assert asked(puppet) == 0


def test_the_thread_that_listens_to_children_does_not_wait_for_them(one: Stage) -> None:
    _, puppet = child(one, row("hello"))

    assert password(one.children.said()) == "hello"
    assert asked(puppet) == 0


def test_what_was_said_last_is_tried_where_no_child_answers(
    one: Stage, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "PATIENCE", 0.05)
    _, puppet = child(one, row("hello"))

    found = [password(connecting_to(one, threads).result(patient(10))) for _ in range(3)]

    assert found == ["hello"] * 3
    assert asked(puppet) == 1


def test_the_first_answer_of_several_children_counts(one: Stage, threads: ThreadPoolExecutor) -> None:
    _, busy = child(one, row("hello"))
    ours, puppet = child(one, row("hello"))
    connection = connecting_to(one, threads)
    until(lambda: asked(puppet))
    puppet.says("parameters", row("two"))
    one.nursery.listen(ours)

    assert password(connection.result(patient(10))) == "two"
    assert asked(busy) == 1


def test_one_that_cannot_say_it_does_not_speak_for_another(one: Stage, threads: ThreadPoolExecutor) -> None:
    ours, puppet = child(one, row("hello"))
    theirs, other = child(one, row("hello"))
    connection = connecting_to(one, threads)
    until(lambda: asked(puppet))
    puppet.says("parameters", "no metadata service")
    one.nursery.listen(ours)
    other.says("parameters", row("two"))
    one.nursery.listen(theirs)

    assert password(connection.result(patient(10))) == "two"


def test_why_a_child_cannot_say_it_is_logged_once(
    one: Stage, threads: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ours, puppet = child(one, row("hello"))
    found = []
    for _ in range(3):
        connection = connecting_to(one, threads)
        until(lambda: asked(puppet))
        puppet.says("parameters", "no metadata service")
        one.nursery.listen(ours)
        found.append(password(connection.result(patient(10))))

    assert found == ["hello"] * 3
    assert caplog.text.count("the last that was said is tried: no metadata service") == 1


def test_a_child_of_another_database_is_neither_asked_nor_believed(one: Stage, threads: ThreadPoolExecutor) -> None:
    ours, puppet = child(one, row("hello"))
    _, other = child(one, row("other"), url="sqlite:///other.db")
    connection = connecting_to(one, threads)
    until(lambda: asked(puppet))
    puppet.says("parameters", row("two"))
    one.nursery.listen(ours)

    assert password(connection.result(patient(10))) == "two"
    assert asked(other) == 0
    assert not other.killed


def test_a_child_that_was_started_later_says_it_anew(one: Stage) -> None:
    child(one, row("hello"))
    child(one, row("later"))

    assert password(one.children.said()) == "later"


def test_nobody_speaks_of_it_unasked(one: Stage) -> None:
    ours, puppet = child(one, row("hello"))
    puppet.says("parameters", row("of a rogue"))

    one.nursery.listen(ours)

    assert puppet.killed
    assert password(one.children.said()) == "hello"


BAD: list[Any] = [
    None, 1, [], {}, {"given": {}}, row(more=1), row(given=[]), row(given={"host": 1}), row(given={"host": None}),
    row(given={"host": "a\0b"}), row(given={"host": "\ud800"}), row(given={"host": "x" * (1 << 17)}),
    row(given={str(number): "" for number in range(1000)}), row(role=1), row(role=["r"]), row(commands="PRAGMA x"),
    row(commands=[1]), row(commands=["x"] * 1000),
]  # fmt: skip


@pytest.mark.parametrize("body", BAD)
def test_what_cannot_be_parameters_ends_the_child(one: Stage, threads: ThreadPoolExecutor, body: Any) -> None:
    ours, puppet = child(one, row("hello"))
    connection = connecting_to(one, threads)
    until(lambda: asked(puppet))
    puppet.says("parameters", body)
    one.nursery.listen(ours)
    # Not waited for: it is to be buried.
    ours.asked = False
    with one.children.said.news:
        one.children.said.news.notify_all()

    assert puppet.killed
    assert password(connection.result(patient(10))) == "hello"


@pytest.mark.parametrize("body", [body for body in BAD if body is not None])
def test_nor_can_it_be_part_of_a_hello(one: Stage, body: Any) -> None:
    ours, puppet = child(one, body)

    assert puppet.killed
    assert not ours.ready


def test_a_frame_of_parameters_that_is_spoilt_is_not_logged(one: Stage, caplog: pytest.LogCaptureFixture) -> None:
    ours, puppet = child(one, row("hello"))
    text = b'["parameters",{"given":{"password":"secret'
    puppet.writes(LENGTH.pack(len(text)) + text)

    one.nursery.listen(ours)

    assert "not a frame" in puppet.reason
    assert "secret" not in puppet.reason + caplog.text


APPLICATION = """
import os
os.environ["PGAPPNAME"] = "of a file .env"
import belayed
"""


def test_a_variable_of_libpq_that_the_application_sets_counts_for_its_supervisor(
    postgres: Jobs, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(APPLICATION)

    with tree(postgres, tmp_path / "log", app="shop", cwd=tmp_path):
        # The children themselves connect to nothing.
        eventually(lambda: execute(postgres, NAMED) == [(True,)])


NAMED = (
    "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'of a file .env' AND datname ="
    " current_database()"
)


def test_connections_may_be_opened_by_several_threads_at_once(one: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "PATIENCE", 30.0)
    ours, puppet = child(one, row("hello"))
    with ThreadPoolExecutor(8) as threads:
        found = [connecting_to(one, threads) for _ in range(8)]
        stop = threading.Event()
        while not all(connection.done() for connection in found):
            if asked(puppet):
                puppet.says("parameters", row("two"))
                one.nursery.listen(ours)
            stop.wait(0.001)

    assert {password(connection.result()) for connection in found} <= {"hello", "two"}
