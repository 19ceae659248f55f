"""Whatever a child sends or writes into its page: it hurts itself at most."""

from __future__ import annotations

import json
import math
import socket
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from belayed.claim import Finished
from belayed.job import Outcome, State
from belayed.store.rows import outcomes
from belayed.worker import nursery
from belayed.worker.frames import FINISHED, LARGEST, LENGTH, PACKED, BadFrame, Channel, encoded, finished_row, packed
from belayed.worker.page import clock
from tests.worker.puppets import HELLO, Stage, job, stage

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
HUGE = 10**4000
DEEP = b"[" * 100_000


def row(number: int, **changed: Any) -> list[Any]:
    """An outcome as a child sends it, with something changed."""
    one = Finished(number, f"token {number}", Outcome.RETRY, State.READY, attempt=1, delay=5.0, failed=True)
    plain = dict(zip(FINISHED, finished_row(one), strict=True)) | changed
    return [plain[name] for name in FINISHED]


def frame(text: bytes) -> bytes:
    return LENGTH.pack(len(text)) + text


# The child holds the jobs 1 and 2, in the cells A and B; its neighbour holds the job 3.
A, B, FREE = 19, 18, 5
SUCCESSES: list[Any] = [
    None, 1, {}, "text", [], [1], [[]], [[A]], [[A, 1, None]], [[A, 1, None, True, 1]], [{}], [None],
    [[None, 1]], [["19", 1]], [[float(A), 1]], [[[], 1]], [[{}, 1]], [[True, 1]], [[-1, 1]], [[FREE, 1]], [[HUGE, 1]],
    [[A, None]], [[A, 1.5]], [[A, "1"]], [[A, True]], [[A, -1]], [[A, HUGE]], [[A, []]],
    [[A, 1, 1, True]], [[A, 1, [], True]], [[A, 1, None, None]], [[A, 1, None, 1]],
    [[A, 1, "nul \0", True]], [[A, 1, "lone \ud800", True]], [[A, 1, "x" * 10_001, True]],
    [[A, 1], [A, 1]], [[A, 1], [FREE, 1]], [[A, 1], [B, None]], [[A, 1], None],
]  # fmt: skip
ROWS: list[Any] = [
    *(row(1, **{name: value}) for name in FINISHED for value in ([], {}, math.nan, math.inf, -math.inf, HUGE, -HUGE)),
    *(row(1, **{name: value}) for name, value in [
        ("id", 2), ("id", 3), ("id", 1.0), ("id", "1"), ("token", "token 2"), ("token", "token 3"), ("token", None),
        ("outcome", "crashed"), ("outcome", "lost"), ("outcome", "succeeded"), ("outcome", "no such"),
        ("outcome", None), ("state", None),
        ("state", "running"), ("state", "scheduled"), ("state", "succeeded"), ("state", "cancelled"), ("state", ""),
        ("started", 1), ("started", None), ("seconds", -0.1), ("seconds", None), ("seconds", "1"), ("seconds", True),
        ("seconds", 1e300), ("delay", -1), ("delay", 1e300), ("delay", "1"), ("delay", False), ("failed", 1),
        ("crashed", True), ("free", None), ("unknown", 0), ("keep", None), ("unheard", True), ("written", True),
        ("error_type", "x" * 256), ("message", "x" * 5000), ("traceback", "x" * 20_000), ("message", "\0"),
        ("traceback", "\udfff"), ("error_type", 1), ("result", 1), ("attempt", 2), ("attempt", -1), ("attempt", True),
        ("suspect", True), ("suspect", None),
    ]),
    row(2), row(3), row(1, state="succeeded", outcome="succeeded"),
    row(1, state="failed", outcome="failed", written=True), row(1, state="failed"), row(1, state="cancelled"),
    None, [], {}, row(1)[:-1], [*row(1), None],
]  # fmt: skip
BODIES = [
    *(("succeeded", one) for one in SUCCESSES),
    *(("ended", [[A, one]]) for one in ROWS),
    *(("ended", one) for one in [None, [], {}, [1], [[A]], [[A, row(1)], [A, row(1)]], [[A, row(1)], [FREE, row(1)]]]),
    *(("completed", one) for one in [None, [], [A], [A, row(1)], [FREE, row(1)], [[], row(1)], [A, None]]),
    *(("kinds", one) for one in [None, [], {}, {"foreign": True}, {"t": 1}, {"t": None}, {"t": True, "x": True}]),
    *((kind, None) for kind in ["hello", "failed", "jobs", "stop", "end", "no such", ""]),
    ("hello", HELLO), ("failed", "again"),
]  # fmt: skip
RAW = [
    b"\xff" * 100, frame(b""), frame(b"{}"), frame(b"[]"), frame(b"null"), frame(b'["succeeded"]'), frame(b"[1,2]"),
    frame(b'["succeeded",[[19,1]],1]'), frame(b"\xff\xfe"), frame(b'["succeeded",[[19,NaN]]]'), frame(DEEP),
    frame(b'["succeeded",' + DEEP), frame(b'{"a":' * 20_000), frame(b"1" * 10_000),
    frame(b'["ended",[' + b"[]," * 100_000), frame(b'["ended",["' + b'\\"' * 150_000),
    frame(b'["x","' + b"," * 300_000 + b'",' + b"1," * 140_000), frame(b'["ended",1e999]'),
    frame(b'[["succeeded"],[[19,1]]]'), frame(b'[null,null]'), frame('["succeeded",[[19,1]]]'.encode("utf-16")),
    LENGTH.pack(LARGEST), LENGTH.pack(2**24), packed("succeeded", [[A, 1]]), LENGTH.pack(PACKED),
]  # fmt: skip


def unharmed(one: Stage, neighbour: Any) -> None:
    """Check what must hold whatever a child has done: nothing is lost, and no job ended that it did not hold."""
    found = one.children.outcomes()
    assert len({finished.id for finished in found}) == len(found)
    for finished in found:
        assert finished.token == f"token {finished.id}"
        assert finished.id != 3
    for _, _, text in outcomes(found):
        json.loads(text, parse_constant=lambda _: pytest.fail("no database reads this"))
        assert "\0" not in text.encode().decode()
    assert {1, 2, 3} - {finished.id for finished in found} == one.children.known()
    assert neighbour in one.children.list
    assert [handed.job.id for handed in neighbour.handed.values()] == [3]


@pytest.mark.parametrize("said", [*(encoded(*one) for one in BODIES), *RAW], ids=lambda data: repr(data[4:44]))
def test_a_frame_that_is_not_valid_ends_its_child_and_changes_nothing(said: bytes) -> None:
    with stage() as one:
        neighbour, _ = one.child()
        one.given(neighbour, job(3))
        child, puppet = one.child()
        assert one.given(child, job(1, "t"), job(2, "u"), ended=True) == [A, B]
        puppet.writes(said)

        one.nursery.listen(child)

        assert puppet.killed
        assert "it sent what is not a valid frame" in puppet.reason
        assert len(puppet.reason) < 1000
        assert not one.children.ended
        assert len(child.handed) == 2
        one.step()
        # Neither ran any more, so that either may have done it: they are suspects.
        assert [(finished.state, finished.suspect) for finished in one.children.ended] == [(State.READY, True)] * 2
        unharmed(one, neighbour)


def test_valid_frames_between_those_of_a_neighbour_do_what_they_say() -> None:
    with stage() as one:
        children = [one.child() for _ in range(2)]
        (child, puppet), (neighbour, other) = children
        first = one.given(child, job(2), job(3), ended=True)
        second = one.given(neighbour, job(4), job(5), ended=True)
        half = encoded("succeeded", [[first[0], 7, '"é😀"', True]])
        puppet.writes(half[:9])
        other.says("ended", [[second[0], row(4, message="é😀 \u2028", seconds=1)]])
        one.step()
        puppet.writes(half[9:] + encoded("completed", [first[1], row(3, **DONE)]) + encoded("kinds", {"t": True}))
        other.says("succeeded", [[second[1], 5]])

        one.step()

        found = {finished.id: finished for finished in one.children.outcomes()}
        assert {id: finished.state for id, finished in found.items()} == {
            2: State.SUCCEEDED, 4: State.READY, 5: State.SUCCEEDED
        }  # fmt: skip
        assert (found[2].result, found[4].message) == ('"é😀"', "é😀 \u2028")
        assert one.children.known() == {3}
        assert not puppet.killed
        assert not other.killed


DONE = {"state": "succeeded", "outcome": "succeeded", "written": True, "failed": False, "delay": None}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("succeeded", [[A, 1]]), ("succeeded", [[A, 1]])),
        (("succeeded", [[A, 1]]), ("ended", [[A, row(1)]])),
        (("ended", [[A, row(1)]]), ("completed", [A, row(1, **DONE)])),
        (("completed", [A, row(1, **DONE)]), ("completed", [A, row(1, **DONE)])),
        (("kinds", {"t": True}), ("kinds", {"t": True})),
    ],
)
def test_what_is_valid_once_is_not_valid_twice(first: tuple[str, Any], second: tuple[str, Any]) -> None:
    with stage() as one:
        child, puppet = one.child()
        one.given(child, job(1), job(2), ended=True)
        puppet.says(*first)
        one.nursery.listen(child)
        before = puppet.killed

        puppet.says(*second)
        one.nursery.listen(child)

        assert (before, puppet.killed) == (False, True)
        assert len(one.children.outcomes()) == (first[0] in ("succeeded", "ended"))


@pytest.mark.parametrize("said", [("succeeded", [[A, 1]]), ("ended", [[A, row(2)]])])
def test_an_outcome_that_comes_again_does_not_end_the_next_job_in_its_place(said: tuple[str, Any]) -> None:
    with stage() as one:
        child, puppet = one.child()
        one.given(child, job(1), ended=True)
        puppet.says("succeeded", [[A, 1]])
        one.nursery.listen(child)
        assert one.given(child, job(2)) == [A]

        puppet.says(*said)
        one.nursery.listen(child)

        assert "has not ended" in puppet.reason
        assert [finished.id for finished in one.children.outcomes()] == [1]


@pytest.mark.parametrize(
    "body",
    [
        *(None, [], {}, "hello", {**HELLO, "more": 1}, {"url": HELLO["url"], "kinds": {}}),
        *({**HELLO, "url": url} for url in (None, 1, [])),
        *({**HELLO, "kinds": kinds} for kinds in (None, [], {"t": 1}, {"t": []})),
        *({**HELLO, "log": log} for log in (None, [], {}, {**HELLO["log"], "more": 1})),
        *(
            {**HELLO, "log": {**HELLO["log"], **changed}}
            for changed in (
                {"level": "INFO"}, {"level": True}, {"text": 1}, {"text": "x" * 1001}, {"text": "\0"}, {"dates": []},
                {"style": "x"}, {"style": None}, {"is_utc": 1},
            )
        ),
        *({**HELLO, "config": config} for config in (None, [], {"no such": 1}, {"priorities": {}})),
        *(
            {**HELLO, "config": {**HELLO["config"], **changed}}
            for changed in (
                {"max_attempts": "25"}, {"max_attempts": True}, {"max_attempts": 0}, {"payload_limit": 1.5},
                {"payload_limit": -1}, {"max_run_time": 5}, {"max_run_time": {"s": "5"}},
                {"max_run_time": {"s": 1e300}},
                {"max_run_time": {"s": math.inf}}, {"max_run_time": {"s": math.nan}}, {"max_run_time": {"x": 1}},
                {"trust": [1]}, {"trust": [[]]}, {"trust": {}}, {"redact": None}, {"prefix": "a b"}, {"schema": 1},
                {"store_timeout": {"s": -1}}, {"synchronous": []}, {"keep_failed": "sometimes"},
            )
        ),
    ],
)  # fmt: skip
def test_a_hello_that_is_not_valid_ends_its_child(body: Any) -> None:
    with stage() as one:
        child, puppet = one.child(hello=False)
        puppet.says("hello", body)

        one.nursery.listen(child)

        assert puppet.killed
        assert not child.ready
        assert not one.nursery.staff.started


def test_a_child_may_not_send_more_than_its_hello_before_it_has_said_it() -> None:
    with stage() as one:
        child, puppet = one.child(hello=False)
        puppet.writes(LENGTH.pack(2**23))

        one.nursery.listen(child)

        assert puppet.killed


def test_half_a_frame_keeps_no_more_than_a_frame_may_have() -> None:
    with stage() as one:
        child, puppet = one.child()
        most = child.process.channel.largest
        puppet.writes(LENGTH.pack(most))
        held = []
        for _ in range(200):
            puppet.writes(b" " * 100_000)
            one.step()
            held.append(len(child.process.channel.unread))

        assert puppet.killed
        assert max(held) <= most + 2 * nursery.FRAMES * 1000
        assert most < 2**24


def test_a_child_that_floods_the_channel_keeps_nobody_waiting() -> None:
    with stage() as one:
        loud, puppet = one.child()
        other, quiet = one.child()
        (cell,) = one.given(other, job(1), ended=True)
        one.step()
        puppet.writes(frame(b'["kinds",{}]') * 10_000)
        quiet.says("succeeded", [[cell, 1]])

        one.step()

        assert puppet.killed
        assert [finished.id for finished in one.children.outcomes()] == [1]
        assert not loud.process.channel.more


def test_the_frames_of_one_child_are_taken_in_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nursery, "FRAMES", 2)
    with stage() as one:
        child, puppet = one.child()
        cells = one.given(child, *(job(id) for id in range(1, 6)), ended=True)
        one.step()
        for cell in cells:
            puppet.says("succeeded", [[cell, 1]])
        found = []
        for _ in range(3):
            one.step()
            found.append(len(one.children.outcomes()))

    assert found == [2, 2, 1]


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just(HUGE), st.sampled_from([A, B]),
    st.sampled_from(["token 1", "succeeded", "failed", "ready", "running", "\0", "\ud800", "t", "u"]),
)  # fmt: skip
ANY = st.recursive(ODD, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner))
VALID = st.sampled_from([
    ("succeeded", [[A, 1]]), ("succeeded", [[B, 5, "1", True]]), ("succeeded", [[A, 1], [B, 1]]),
    ("ended", [[A, row(1)]]), ("ended", [[B, row(2, state="failed", outcome="failed", delay=None)], [A, row(1)]]),
    ("completed", [A, row(1, **DONE)]), ("kinds", {"t": True}), ("ended", [[A, row(1, **DONE)]]),
])  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, Any]:
    """A valid frame, but for one part of it."""
    kind, body = draw(VALID)
    body = json.loads(json.dumps(body))
    inner = body
    while isinstance(inner, list) and inner and draw(st.booleans()):
        if draw(st.integers(0, 3)) == 0:
            inner[draw(st.integers(0, len(inner) - 1))] = draw(ANY)
            break
        inner = inner[draw(st.integers(0, len(inner) - 1))]
    return kind, body


SAID = st.one_of(
    VALID.map(lambda one: encoded(*one)),
    mutated().map(lambda one: encoded(*one)),
    st.tuples(st.sampled_from(["succeeded", "ended", "completed", "kinds", "hello", "failed", "x"]), ANY).map(
        lambda one: encoded(*one)
    ),
    st.binary(max_size=50).map(frame),
    st.binary(max_size=50),
)


@QUICK
@given(st.lists(SAID, max_size=6), st.booleans(), st.booleans())
def test_no_frames_end_a_supervisor_or_another_childs_job(said: list[bytes], ended: bool, ends: bool) -> None:
    with stage() as one:
        neighbour, _ = one.child()
        one.given(neighbour, job(3))
        child, puppet = one.child()
        one.given(child, job(1, "t"), job(2, "u"), ended=ended)
        for data in said:
            puppet.writes(data)
            one.step()
        puppet.gone = ends

        one.step()

        unharmed(one, neighbour)


@QUICK
@given(
    st.lists(st.binary(max_size=40) | st.just(packed("jobs", [])), max_size=5), st.integers(0, 60), st.integers(0, 255)
)
def test_a_child_reads_frames_or_knows_that_they_are_not(parts: list[bytes], at: int, value: int) -> None:
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        channel = Channel(theirs, trusting=True)
        data = bytearray(packed("jobs", [(1, 2.0, (1, "queue"))]) + b"".join(parts))
        data[at % len(data)] = value
        ours.sendall(data)

        try:
            found = list(channel.frames())
        except BadFrame:
            return

        assert all(isinstance(kind, str) for kind, _ in found)


@pytest.mark.parametrize("half", [b"", encoded("succeeded", [[A, 1]])[:-1], LENGTH.pack(2**20)])
def test_a_child_whose_outcomes_do_not_arrive_is_ended(half: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nursery, "SAYS_NOTHING", 3 * nursery.WATCH)
    with stage() as one:
        child, puppet = one.child()
        (cell,) = one.given(child, job(1))
        one.step()
        killed = []
        for _ in range(4):
            one.nursery.watch(clock())
            killed.append(puppet.killed)
        child.process.page.end(cell)
        puppet.writes(half)

        for _ in range(3):
            one.nursery.listen(child)
            one.nursery.watch(clock())
            killed.append(puppet.killed)

        # It ran at first; from then on there are three looks.
        assert killed == [False] * 6 + [True]


def test_what_a_child_said_before_it_died_counts_though_nothing_could_be_sent_to_it_any_more() -> None:
    with stage() as one:
        child, puppet = one.child()
        cells = one.given(child, job(1), job(2), ended=True)
        for cell in cells:
            puppet.says("succeeded", [[cell, 1]])
        puppet.theirs.close()
        child.process.send("back")
        puppet.gone = True

        one.step()

        assert [finished.state for finished in one.children.outcomes()] == [State.SUCCEEDED] * 2
