"""A claim brings the most urgent ready jobs of the queues served, each to one worker, with a fresh token."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from belayed.claim import micros
from belayed.connections import wrap
from belayed.job import State
from belayed.store import lanes as lanes_module
from belayed.store.answers import Wanted
from tests.store.factories import NOON, Driven, again, draft, ids_of, of_threads, released, succeeded


def inserted(store, *jobs):
    """The ids of jobs of the given options."""
    return ids_of(store.insert_many([draft(**options) for options in jobs]))


def order(job):
    return job.priority, job.run_at, job.id


def test_a_claimed_job_is_running_under_its_claim(store):
    id = store.added(queue="mail", priority=2, max_attempts=4, max_run_time=timedelta(seconds=1.5), keep_failed=True)[0]

    (claim,) = store.claimed(by="w7")

    job = store.job(id)
    assert claim[:5] == (id, "mail", 2, micros(NOON), "app.work")
    assert claim[5:10] == ('{"v":1}', micros(NOON), 0, 0, 0)
    assert (claim.rescues, claim.free_retries, claim.max_attempts, claim.max_run_time) == (0, 0, 4, 1.5)
    assert (claim.keep_failed, claim.meta, claim.unknown_for) == (True, None, None)
    assert (job.state, job.worker, job.started_at, job.attempt) == (State.RUNNING, "w7", NOON, 0)


def test_the_meta_comes_with_the_claim(store):
    store.added(meta={"trace": "é"})

    (claim,) = store.claimed()

    assert claim.meta == '{"trace":"é"}'


@pytest.mark.dj(64, 68, 97)
def test_the_smaller_priority_the_earlier_time_and_the_smaller_id_come_first(store):
    early, late = timedelta(minutes=-2), timedelta(minutes=-1)
    ids = inserted(
        store,
        {"priority": 1, "run_at": early},
        {"priority": 0, "run_at": late},
        {"priority": 0, "run_at": early},
        {"priority": 0, "run_at": early},
        {"priority": -1, "run_at": late},
    )

    claimed = store.claimed(10)

    assert ids_of(claimed) == [ids[4], ids[2], ids[3], ids[1], ids[0]]


@pytest.mark.dj(116)
def test_the_order_counts_across_queues(store):
    early, late = timedelta(minutes=-2), timedelta(minutes=-1)
    ids = inserted(
        store,
        {"queue": "a", "priority": 1, "run_at": early},
        {"queue": "b", "priority": 0, "run_at": late},
        {"queue": "c", "priority": 0, "run_at": early},
        {"queue": "a", "priority": 0, "run_at": early},
        {"queue": "c", "priority": -1, "run_at": late},
    )

    claimed = store.claimed(4)

    assert ids_of(claimed) == [ids[4], ids[2], ids[3], ids[1]]


@pytest.mark.dj(97, 122)
@pytest.mark.parametrize(
    ("queues", "served"),
    [
        (("*",), "abcé"),
        (("a",), "a"),
        (("c", "a"), "ac"),
        (("!b",), "acé"),
        (("*", "!a", "!é"), "bc"),
        (("a", "b", "!b"), "a"),
        (("*", "a"), "abcé"),
        (("é",), "é"),
        (("none",), ""),
    ],
)
def test_only_the_queues_served_are_claimed_from(store, queues, served):
    inserted(store, *({"queue": queue} for queue in "abcé"))

    claimed = store.claimed(10, lanes=store.lanes(*queues))

    assert "".join(sorted(job.queue for job in claimed)) == served


def test_the_names_of_queues_are_taken_literally(store):
    names = ["a b", "a", "A", "a%", "a'b", 'a"b', "*x", "a\\b"]
    inserted(store, *({"queue": name} for name in names))

    claimed = store.claimed(10, lanes=store.lanes("a'b", "a%", "A", 'a"b', "a\\b"))

    assert sorted(job.queue for job in claimed) == sorted(["a'b", "a%", "A", 'a"b', "a\\b"])


@pytest.mark.dj(97, 125)
@pytest.mark.parametrize(
    ("low", "high", "served"),
    [
        (None, None, [-5, 0, 3, 8]),
        (0, None, [0, 3, 8]),
        (None, 3, [-5, 0, 3]),
        (1, 7, [3]),
        (-5, -5, [-5]),
        (4, 7, []),
        (9, None, []),
    ],
)
@pytest.mark.parametrize("queues", ["a", "ab"])
def test_only_the_priorities_served_are_claimed(store, queues, low, high, served):
    inserted(store, *({"queue": queue, "priority": priority} for queue in queues for priority in (3, -5, 8, 0)))

    claimed = store.claimed(10, lanes=store.lanes(min_priority=low, max_priority=high))

    assert [job.priority for job in claimed] == sorted(served * len(queues))


@pytest.mark.parametrize("queues", ["a", "ab"])
def test_a_range_above_many_priorities_finds_jobs_of_any_time(store, queues):
    first = datetime.min.replace(tzinfo=UTC)
    inserted(store, *({"queue": queue, "priority": priority} for queue in queues for priority in range(20)))
    ids = inserted(store, *({"queue": queue, "priority": 18, "run_at": first} for queue in queues))

    claimed = store.claimed(len(queues), lanes=store.lanes(min_priority=18))

    assert ids_of(claimed) == ids


def test_a_claim_brings_no_more_than_wanted(store):
    store.added(5)

    first, rest, none = store.claimed(3), store.claimed(3), store.claimed(3)

    assert [len(first), len(rest), len(none)] == [3, 2, 0]


def test_nothing_is_wanted_and_nothing_is_claimed(store):
    store.added(1)

    turn = store.turn([], Wanted("w1", 0, store.lanes()))

    assert turn.claimed == []
    assert store.find({})[0].state is State.READY


def test_a_turn_without_a_wish_claims_nothing(store):
    store.added(1)

    turn = store.turn([])

    assert (turn.held, turn.claimed) == (set(), [])


@pytest.mark.parametrize("number", [1, 10, 200])
def test_fewer_than_wanted_means_that_nothing_else_is_ready(store, number):
    lanes = store.lanes()
    made = ids_of(store.insert_many([draft(queue=f"q{nth % number}", priority=nth % 7) for nth in range(3 * number)]))

    claimed = store.claimed(3 * number - 1, lanes=lanes)
    rest = store.claimed(10, lanes=lanes)

    assert len(claimed) == 3 * number - 1
    assert sorted(ids_of([*claimed, *rest])) == made


@pytest.mark.parametrize("number", [1, 10, 200])
@pytest.mark.parametrize("remembers", [True, False])
def test_the_order_is_right_over_many_queues_and_priorities(synced, number, remembers):
    random.seed(number)
    priorities = [*range(40), -(2**31), 2**31 - 1]
    many = [
        draft(
            queue=f"q{random.randrange(number)}",
            priority=random.choice(priorities),
            run_at=timedelta(seconds=-random.randrange(5)),
        )
        for _ in range(2000)
    ]
    synced.insert_many(many)
    wanted = sorted(synced.find({}, count=2000), key=order)
    lanes = synced.lanes()

    claimed = []
    for count in (1, 2, 47, 250, 700, 999, 1):
        lanes = lanes if remembers else synced.lanes()
        claimed += synced.claimed(count, lanes=lanes)

    assert ids_of(claimed) == ids_of(wanted)


@pytest.mark.parametrize("spread", [1, 3, 30])
def test_the_order_is_right_within_a_queue_of_many_priorities(synced, spread):
    inserted(synced, *({"priority": spread * (nth * 7 % 41), "queue": f"q{nth % 3}"} for nth in range(300)))
    wanted = sorted(synced.find({}, count=300), key=order)
    lanes = synced.lanes("q0", "q1", "q2")

    claimed = [job for _ in range(30) for job in synced.claimed(10, lanes=lanes)]

    assert ids_of(claimed) == ids_of(wanted)


@pytest.mark.parametrize(
    ("text", "comes"),
    [("x" * 16_384, True), ("x" * 16_385, False), ("ä" * 8_192, True), ("ä" * 8_193, False)],
)
def test_a_payload_over_16_kib_is_fetched_when_it_is_needed(store, text, comes):
    store.added(text=text)

    (claim,) = store.claimed()

    assert claim.payload == (text if comes else None)
    assert store.payload(claim.id, claim.token) == text


def test_the_payload_of_a_lost_claim_is_not_given_out(store):
    claim = store.running()

    foreign = store.payload(claim.id, "0" * 16)
    store.finish(succeeded(claim))
    ended = store.payload(claim.id, claim.token)

    assert (foreign, ended) == (None, None)


def test_each_claim_has_a_fresh_token(store):
    store.added(3)

    first = store.claimed(2)
    second = store.claimed(1)
    store.finish(released(second[0]))
    third = store.claimed(1)

    tokens = {job.token for job in (*first, *second, *third)}
    assert len(tokens) == 3
    assert min(len(token) for token in tokens) >= 16


@pytest.mark.dj(67, 98)
def test_a_job_for_the_future_is_not_claimed(store):
    store.added(run_at=timedelta(microseconds=1))
    store.later(days=1)

    claimed = store.claimed(10)

    assert claimed == []


@pytest.mark.dj(98, 170)
def test_only_what_is_ready_is_claimed(store):
    for state in (State.SUCCEEDED, State.FAILED, State.CANCELLED):
        store.ended(state)
    store.running()
    store.added(run_at=timedelta(hours=1))
    ready = store.added(2)

    claimed = store.claimed(10)

    assert ids_of(claimed) == ready
    assert store.claimed(10) == []


@pytest.mark.dj(103)
@pytest.mark.parametrize("queues", [1, 3])
def test_a_claim_brings_no_more_than_wanted_by_the_worst_of_plans(shared_postgres, queues):
    shared_postgres.empty()
    # These plans run `id IN (SELECT … LIMIT 4)` anew for each row of the table, and so take 60 jobs.
    kinds = ("hashjoin", "mergejoin", "material", "memoize", "hashagg", "sort")
    off = "%20".join(f"-cenable_{kind}%3Doff" for kind in kinds)
    joined = "&" if "?" in shared_postgres.url else "?"
    store, connections = of_threads(f"{shared_postgres.url}{joined}options={off}")
    inserted(store, *({"queue": f"q{nth % queues}"} for nth in range(60)))

    claimed = store.claimed(4)

    running = store.find({"states": [State.RUNNING]})
    connections.close()
    assert len(claimed) == 4
    assert sorted(ids_of(running)) == sorted(ids_of(claimed))


def test_finishing_and_claiming_are_one_turn(store):
    first = store.running()
    waiting = store.added(1)
    lanes = store.lanes()

    turn = store.turn([succeeded(first)], Wanted("w1", 5, lanes))

    assert turn.held == {first.id}
    assert ids_of(turn.claimed) == waiting


def test_a_job_that_goes_back_at_once_comes_with_a_later_turn(store):
    first = store.running()
    lanes = store.lanes()

    turn = store.turn([again(first, delay=0.0)], Wanted("w2", 5, lanes))
    later = store.turn([], Wanted("w2", 5, lanes))

    (claim,) = [*turn.claimed, *later.claimed]
    assert (claim.id, claim.attempt) == (first.id, 1)
    assert claim.token != first.token


class TestRememberedMarks:
    """A claimer that remembers where it stood still finds what comes before: when `due()` says so, it looks again."""

    @pytest.fixture
    def lanes(self, store):
        lanes = store.lanes()
        lanes.remember = True
        return lanes

    @pytest.fixture
    def stood(self, store, lanes):
        """The claimer has claimed 5 of 10 jobs of each of two queues."""
        inserted(store, *({"queue": queue, "priority": 5} for queue in "ab" for _ in range(10)))
        assert len(store.claimed(10, lanes=lanes)) == 10
        # Its scan was now and cost nothing: none is due for a second.
        lanes.cost = 0.0
        assert not lanes.due()

    def scanned_long_ago(self, lanes):
        lanes.scanned_at -= 3600
        assert lanes.due()

    @pytest.mark.usefixtures("stood")
    @pytest.mark.parametrize(
        "late",
        [{"queue": "a", "priority": 4}, {"queue": "b", "priority": 5, "run_at": timedelta(minutes=-1)}, {"queue": "c"}],
        ids=["smaller priority", "older", "new queue"],
    )
    def test_what_comes_before_the_mark_is_found_by_the_next_scan(self, store, lanes, late):
        (id,) = inserted(store, late)
        self.scanned_long_ago(lanes)

        claimed = store.claimed(1, lanes=lanes)

        assert ids_of(claimed) == [id]

    @pytest.mark.usefixtures("stood")
    def test_what_comes_before_the_mark_is_found_once_a_claim_came_short(self, store, lanes):
        (id,) = inserted(store, {"queue": "a", "priority": 4})
        passed = store.claimed(100, lanes=lanes)
        assert id not in ids_of(passed)

        claimed = store.claimed(1, lanes=lanes)

        assert ids_of(claimed) == [id]

    @pytest.mark.usefixtures("stood")
    def test_a_hint_of_a_smaller_priority_brings_it_at_once(self, store, lanes):
        (id,) = inserted(store, {"queue": "a", "priority": 4})

        hinted = lanes.hint("a", 4)

        assert hinted
        assert ids_of(store.claimed(1, lanes=lanes)) == [id]

    @pytest.mark.usefixtures("stood")
    def test_a_greater_priority_needs_no_scan(self, store, lanes):
        (id,) = inserted(store, {"queue": "a", "priority": 6})

        claimed = store.claimed(100, lanes=lanes)

        assert claimed[-1].id == id
        assert len(claimed) == 11

    @pytest.mark.usefixtures("stood")
    def test_the_order_is_kept_between_scans(self, store, lanes):
        wanted = sorted(store.find({"states": [State.READY]}), key=order)

        claimed = [job for _ in range(10) for job in store.claimed(1, lanes=lanes)]

        assert ids_of(claimed) == ids_of(wanted)

    def test_a_job_whose_transaction_commits_late_is_found(self, shared_postgres):
        shared_postgres.empty()
        store = Driven(shared_postgres.of_threads.store, shared_postgres.of_threads.perform)
        lanes = store.lanes()
        with psycopg.connect(shared_postgres.url) as raw:
            late = wrap(raw).perform(store.store.insert(draft(), now=NOON))
            store.added(5)
            claimed = store.claimed(3, lanes=lanes)
            raw.commit()
        assert late.id < claimed[0].id
        self.scanned_long_ago(lanes)

        found = store.claimed(1, lanes=lanes)

        assert ids_of(found) == [late.id]


class TestFarLooks:
    """Claims of many lanes that follow one another share a look; what has changed since is not claimed by it."""

    NUMBER = 60

    @pytest.fixture(autouse=True)
    def time_enough(self, monkeypatch):
        monkeypatch.setattr(lanes_module, "LATELY", 60.0)

    @pytest.fixture
    def far(self, store):
        """The ready jobs in their order, of which a claimer of many lanes has claimed some: it has looked far."""
        inserted(store, *({"queue": f"q{nth % 17}", "priority": nth % 5} for nth in range(600)))
        ready = ids_of(sorted(store.find({}, count=600), key=order))
        lanes = store.lanes("*", "!parked")
        claimed = ids_of([*store.claimed(self.NUMBER, lanes=lanes), *store.claimed(self.NUMBER, lanes=lanes)])
        assert claimed == ready[: 2 * self.NUMBER]
        assert lanes.following(self.NUMBER) == ready[2 * self.NUMBER : 3 * self.NUMBER]
        return ready[2 * self.NUMBER :], lanes

    def test_the_order_is_kept(self, store, far):
        ready, lanes = far

        claimed = [job for _ in range(10) for job in store.claimed(self.NUMBER, lanes=lanes)]

        assert ids_of(claimed) == ready

    def test_claims_are_full_though_others_claim_the_same(self, store, far):
        ready, lanes = far
        others = store.lanes()

        claims = [store.claimed(self.NUMBER, lanes=one) for _ in range(4) for one in (lanes, others)]

        assert [len(claim) for claim in claims] == [self.NUMBER] * 8
        assert sorted(job.id for claim in claims for job in claim) == sorted(ready)
        assert all(ids_of(claim) == ids_of(sorted(claim, key=order)) for claim in claims)

    @pytest.mark.parametrize("how", ["cancelled", "moved", "postponed", "paused"])
    def test_what_is_not_there_any_more_is_not_claimed(self, store, far, how):
        ready, lanes = far
        jobs = {job.id: job for job in store.find({"states": [State.READY]}, count=600)}
        gone = {id for id in ready if jobs[id].queue == "q3"} if how == "paused" else {*ready[:10]}
        changes = {
            "cancelled": lambda: store.cancel([*gone]),
            "moved": lambda: store.change([*gone], queue="parked"),
            "postponed": lambda: store.change([*gone], run_at=NOON + timedelta(days=1)),
            "paused": lambda: store.pause("q3"),
        }
        changes[how]()

        claimed = store.claimed(self.NUMBER, lanes=lanes)

        assert ids_of(claimed) == [id for id in ready if id not in gone][: self.NUMBER]

    def test_a_hint_of_a_new_job_brings_it_at_once(self, store, far):
        _, lanes = far
        (id,) = inserted(store, {"queue": "q1", "priority": -1})

        lanes.hint("q1", -1)

        assert store.claimed(self.NUMBER, lanes=lanes)[0].id == id

    def test_it_counts_for_a_moment_only(self, store, far, monkeypatch):
        ready, lanes = far
        (id,) = inserted(store, {"queue": "q1", "priority": -1})
        lanes.scanned_at -= 3600
        monkeypatch.setattr(lanes_module, "LATELY", 0.0)

        claimed = store.claimed(self.NUMBER, lanes=lanes)

        assert ids_of(claimed) == [id, *ready[: self.NUMBER - 1]]
