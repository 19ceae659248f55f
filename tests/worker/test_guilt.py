"""Who is to blame where more than one may be: nobody pays for another's crash, and the guilty one is found."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from belayed import Job, Outcome, State, enqueue_many
from belayed.claim import Claimed
from belayed.config import Config
from belayed.jobs import Jobs
from belayed.worker.apart import PATIENCE, Apart
from belayed.worker.blame import BROKEN, LOST, Death, Left, after_death
from tests.worker import harmful
from tests.worker.helpers import ended, eventually, execute, program, states
from tests.worker.tree import over, tree

HARMFUL = "tests.worker.harmful"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def claimed(id: int = 1, **given: Any) -> Claimed:
    values = dict.fromkeys(Claimed._fields)
    numbers = dict.fromkeys(("priority", "run_at", "created_at", "attempt", "failures", "crashes", "rescues"), 0)
    named = {"queue": "q", "task": "t", "token": "k", "suspect": False}
    return Claimed(**{**values, **numbers, **named, "id": id, **given})


LATE = {"expected": True, "reason": "a job of its did not end"}


def late(id: int, is_async: bool = False) -> Left:
    """One that was told to end, and did not."""
    return Left(claimed(id), 9, True, is_async=is_async, stop=(Outcome.TIMED_OUT, "stopped after 5 s"))


def judged(death: Death, *left: Left) -> list[tuple[bool, bool]]:
    """Of each outcome: whether it is charged, and whether its job is a suspect."""
    return [(one.crashed, one.suspect) for one in after_death(death, left, Config())]


@pytest.mark.parametrize(
    ("death", "left", "expected"),
    [
        ({}, [Left(claimed(1), 1, True)], [(True, True)]),
        ({}, [Left(claimed(1), 1, True, completed=True), Left(claimed(2), 1, True)], [(False, True)]),
        ({}, [Left(claimed(1), 1, True, completed=True)], []),
        ({}, [Left(claimed(1), 1, False, completed=True), Left(claimed(2), 1, True)], [(False, True)]),
        ({}, [Left(claimed(1), 1, False), Left(claimed(2), 1, True)], [(False, True)] * 2),
        ({"left_behind": True, "shared": True}, [Left(claimed(1), 1, True)], [(False, True)]),
        ({"left_behind": True, "shared": True}, [Left(claimed(1, suspect=True), 1, True)], [(False, True)]),
        ({"left_behind": True}, [Left(claimed(1), 1, True)], [(True, True)]),
        ({"code": BROKEN, "shared": True}, [Left(claimed(1), 1, True)], [(False, True)]),
        ({"code": LOST, "shared": True}, [Left(claimed(1), 1, True)], [(False, True)]),
        ({"reason": "not a valid frame", "shared": True}, [Left(claimed(1), 1, True)], [(False, True)]),
        ({"reason": "not a valid frame"}, [Left(claimed(1), 1, True)], [(True, True)]),
        ({"reason": "not a valid frame"}, [Left(claimed(1), 1, True), Left(claimed(2), 1, False)], [(False, True)] * 2),
        ({"code": BROKEN}, [Left(claimed(1, suspect=True), 1, True)], [(True, True)]),
        (LATE | {"deaf": True}, [late(1), Left(claimed(2), 1, True)], [(False, True)] * 2),
        (LATE | {"deaf": True}, [late(1)], [(False, False)]),
        (LATE, [late(1), Left(claimed(2), 1, True)], [(False, False)] * 2),
        (LATE, [late(1, True), Left(claimed(2), 1, True)], [(False, False)] * 2),
        (LATE, [late(1, True), Left(claimed(2), 1, True, is_async=True)], [(False, True)] * 2),
        ({"expected": True}, [Left(claimed(1), 1, True, completed=True), Left(claimed(2), 1, True)], [(False, False)]),
    ],
    ids=[
        "alone",
        "beside one that is completed",
        "completed alone",
        "beside one that is completed and has ended",
        "beside one that has just ended",
        "with leftovers of others",
        "a suspect with leftovers of others",
        "with its own leftovers",
        "a slot that died after other jobs",
        "a channel that was lost after other jobs",
        "what was sent after other jobs",
        "what it has sent itself",
        "what it or one that had ended has sent",
        "a suspect whose slot died",
        "late beside one that keeps the lock",
        "late alone, and keeps the lock",
        "late beside another",
        "a late coroutine beside a thread",
        "a late coroutine beside another",
        "ended by the supervisor",
    ],
)
def test_only_what_is_proven_is_charged(
    death: dict[str, Any], left: list[Left], expected: list[tuple[bool, bool]]
) -> None:
    found = judged(Death(**{"pid": 1, "code": -9, "peak": 0, **death}), *left)

    assert found == expected


def test_a_job_that_completes_itself_and_then_dies_accuses_nobody(jobs: Jobs, log: Path, effects: Path) -> None:
    with tree(jobs, log, app=HARMFUL, threads=2) as worker:
        innocent = harmful.waits.enqueue(str(effects), str(log.with_name("until")))
        eventually(effects.read_text)
        guilty = harmful.completes_and_dies.enqueue(str(effects), 0)
        over(guilty)
        # It is over by its own transaction: its child dies a moment later.
        assert worker.says(rf"it ran .*#{guilty.id}.*none of them is charged")
        log.with_name("until").touch()
        over(innocent)

    assert (guilty.state, guilty.attempt) == (State.SUCCEEDED, 1)
    assert (innocent.state, innocent.crashes, innocent.failures) == (State.SUCCEEDED, 0, 0)
    assert [one.outcome for one in innocent.attempts] == [Outcome.CRASHED]


def test_a_job_whose_process_dies_a_moment_after_it_has_its_neighbour_not_charged(
    lite: Jobs, log: Path, effects: Path
) -> None:
    with tree(lite, log, app=HARMFUL, threads=2) as worker:
        innocent = harmful.waits.using(max_attempts=1).enqueue(str(effects), str(log.with_name("until")))
        eventually(effects.read_text)
        guilty = harmful.dies_a_moment_after.enqueue(str(effects))
        worker.says("child process .* was killed")
        log.with_name("until").touch()
        over(innocent, guilty)

    assert (innocent.state, innocent.attempt, innocent.crashes, innocent.failures) == (State.SUCCEEDED, 2, 0, 0)


@pytest.mark.parametrize("hog", [harmful.keeps_the_lock, harmful.blocks_the_loop], ids=["lock", "event loop"])
def test_a_job_that_stops_its_neighbours_does_not_let_them_time_out(
    hog: Any, lite: Jobs, log: Path, effects: Path
) -> None:
    options = {"kill_after": "0.3s", "grace": "1s"}
    with tree(lite, log, app=HARMFUL, threads=2, **options):
        first = harmful.aends if hog is harmful.blocks_the_loop else harmful.ends
        innocent = first.using(max_attempts=1, max_run_time=timedelta(seconds=2)).enqueue(str(effects), 1)
        eventually(effects.read_text)
        guilty = hog.using(max_attempts=1, max_run_time=timedelta(seconds=8)).enqueue()
        over(innocent, guilty, within=60)

    assert (innocent.state, innocent.failures, innocent.attempt) == (State.SUCCEEDED, 0, 2)
    assert guilty.state is State.FAILED


def test_a_job_that_freezes_the_clock_harms_nobody(lite: Jobs, log: Path, effects: Path) -> None:
    with tree(lite, log, app=HARMFUL, threads=2):
        innocent = harmful.waits.enqueue(str(effects), str(log.with_name("until")))
        eventually(effects.read_text)
        frozen = harmful.freezes_the_clock.enqueue()
        over(frozen)
        log.with_name("until").touch()
        over(innocent)

    assert [(job.state, job.attempt, job.crashes) for job in (frozen, innocent)] == [(State.SUCCEEDED, 1, 0)] * 2


@pytest.mark.parametrize("what", ["watchdog", "timer"])
def test_what_an_ended_job_has_left_behind_accuses_nobody(what: str, lite: Jobs, log: Path, effects: Path) -> None:
    with tree(lite, log, app=HARMFUL, threads=1) as worker:
        over(harmful.leaves.enqueue(what, 0.8))
        innocent = harmful.ends.using(max_attempts=1).enqueue(str(effects), 1.2)
        over(innocent)

        died = bool(worker.logged("child process .* (ended|was killed)"))
    assert died is (what != "timer"), "the test is about a death"
    assert (innocent.state, innocent.crashes, innocent.failures) == (State.SUCCEEDED, 0, 0)


COUNTED = """
import asyncio, ctypes, os, resource, threading, time
from belayed.worker.attempt import Attempts
from belayed.worker.leftovers import Leftovers, callbacks, tasks_beyond
from belayed.worker.slots import Slots

left = Leftovers(Slots(Attempts(jobs), threads=1, async_slots=1, read_ahead=1))
left.open()
assert left.count() == 0
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
assert left.count() == 1
pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], os.environ)
assert left.count() == 2
os.kill(pid, 9)
os.waitpid(pid, 0)
assert left.count() == 1
before = resource.getrlimit(resource.RLIMIT_CPU)
resource.setrlimit(resource.RLIMIT_CPU, (3600, before[1]))
assert left.count() == 2
resource.setrlimit(resource.RLIMIT_CPU, before)
assert left.count() == 1
if os.path.exists("/proc/self/timers"):
    timer = ctypes.c_void_p()
    assert ctypes.CDLL(None).timer_create(1, None, ctypes.byref(timer)) == 0
    assert left.count() == 2

fast = threading.Thread(target=time.sleep, args=(0.2,), daemon=True)
fast.start()
left.open()
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
fast.join()
while fast.native_id and str(fast.native_id) in os.listdir("/proc/self/task") if os.path.exists("/proc") else False:
    time.sleep(0.01)
assert left.count() == 1, "one that has ended does not hide another"

async def timers():
    loop = asyncio.get_running_loop()
    before = callbacks(loop)
    loop.call_later(60, print)
    loop.add_reader(os.pipe()[0], print)
    return callbacks(loop) - before

assert asyncio.run(timers()) == 2

async def tasks():
    kept = asyncio.create_task(asyncio.sleep(0))
    return tasks_beyond(asyncio.get_running_loop(), 1)

assert asyncio.run(tasks()) == 1
"""


def test_what_may_end_a_process_later_is_seen(lite: Jobs) -> None:
    with program(lite, COUNTED) as other:
        code = other.ended()

    assert code == 0, other.errors


def test_a_killer_is_found_where_every_job_leaves_threads(lite: Jobs, log: Path, effects: Path) -> None:
    others = enqueue_many(harmful.leaves_a_thread.draft() for _ in range(3))
    guilty = harmful.dies.enqueue(str(effects))

    with tree(lite, log, app=HARMFUL, threads=1):
        over(guilty, *others)

    assert states(*others) == [State.SUCCEEDED] * 3
    assert (guilty.state, guilty.crashes) == (State.FAILED, 3)
    assert guilty.attempt == 4


EMBEDDED = """
import datetime
import tests.worker.harmful
seconds = lambda s: datetime.timedelta(seconds=s)
belayed.configure({url!r}, synchronous="normal")
belayed.Worker(beat=seconds(0.1), lapse=seconds(0.5), threads=5).run()
"""


def with_a_killer(jobs: Jobs, effects: Path) -> tuple[Job, list[Job]]:
    """A job that kills its worker, and four innocent ones; after the third rescue they would be put aside.

    Beats may be late on a slow machine: one rescue more than it takes must do no harm.
    """
    guilty = harmful.kills_all.enqueue(str(effects))
    innocent = enqueue_many(harmful.ends.draft(str(effects)) for _ in range(4))
    execute(jobs, "UPDATE belayed_jobs SET rescues = 7")
    return guilty, innocent


def all_over_or_dead(saved: list[Job], *workers: subprocess.Popen[Any]) -> None:
    eventually(lambda: ended(*saved) or all(one.poll() is not None for one in workers), 30)


def until_over(workers: int, jobs: Jobs, effects: Path) -> tuple[Job, list[Job]]:
    """Start so many workers together, and again when all have died, until the killer and the innocent have ended."""
    guilty, innocent = with_a_killer(jobs, effects)
    for _ in range(7):
        with ExitStack() as stack:
            running = [stack.enter_context(program(jobs, EMBEDDED.format(url=jobs.url))) for _ in range(workers)]
            all_over_or_dead([guilty, *innocent], *(one.popen for one in running))
        if ended(guilty, *innocent):
            break
    return guilty, innocent


def test_innocents_claimed_beside_a_killer_of_workers_end_well(jobs: Jobs, effects: Path) -> None:
    guilty, innocent = until_over(1, jobs, effects)

    assert states(guilty, *innocent) == [State.FAILED, *[State.SUCCEEDED] * 4]
    assert "put aside as poison" in (guilty.error or "")


def test_innocents_claimed_beside_a_killer_of_two_workers_end_well(lite: Jobs, effects: Path) -> None:
    guilty, innocent = until_over(2, lite, effects)

    assert states(guilty, *innocent) == [State.FAILED, *[State.SUCCEEDED] * 4]


def test_innocents_beside_a_killer_of_whole_trees_end_well(lite: Jobs, log: Path, effects: Path) -> None:
    guilty, innocent = with_a_killer(lite, effects)

    for _ in range(7):
        with tree(lite, log, app=HARMFUL, threads=5, lapse="0.5s", beat="0.1s", wait=False) as worker:
            all_over_or_dead([guilty, *innocent], worker.popen)
        if ended(guilty, *innocent):
            break

    assert states(guilty, *innocent) == [State.FAILED, *[State.SUCCEEDED] * 4]


class TestApart:
    """A worker of one process holds one suspect at a time."""

    def test_of_a_claim_with_suspects_one_is_kept(self) -> None:
        apart = Apart()
        jobs = [claimed(1), claimed(2, suspect=True, rescues=2), claimed(3, suspect=True, rescues=1)]

        run, others, delay = apart.sorted(jobs, 0.0)

        assert (list(run), [job.id for job in others], delay) == ([], [1, 2], None)
        assert apart.room(10, 1) == 0
        assert apart.taken().id == 3

    def test_jobs_are_claimed_one_by_one_until_there_is_none(self) -> None:
        apart = Apart()
        apart.sorted([claimed(1, suspect=True)], 0.0)
        apart.taken()
        during, after = apart.room(10, 1), apart.room(10, 0)

        apart.sorted([claimed(2)], 1.0)

        assert (during, after, apart.room(10, 1)) == (0, 1, 10)

    def test_one_that_waits_in_vain_is_let_go_and_the_next_waits_longer(self) -> None:
        apart = Apart()
        apart.sorted([claimed(1, suspect=True)], 0.0)

        _, wait = apart.passed_over(PATIENCE)
        run, others, delay = apart.sorted([claimed(2), claimed(1, suspect=True)], PATIENCE + 1)

        assert ([job.id for job in run], [job.id for job in others], delay) == ([2], [1], wait - 1)
        assert apart.room(10, 5) == 10
        apart.sorted([claimed(1, suspect=True)], 2 * PATIENCE + 1)
        assert apart.due == 4 * PATIENCE + 1


@pytest.mark.parametrize("processes", [0, 2])
def test_hundreds_of_rescued_jobs_are_soon_done(processes: int, lite: Jobs, log: Path, effects: Path) -> None:
    enqueue_many(harmful.ends.draft(str(effects)) for _ in range(200))
    execute(lite, "UPDATE belayed_jobs SET rescues = 1, suspect = true")

    with tree(lite, log, app=HARMFUL, processes=processes):
        eventually(lambda: not lite.counts().live, 20)

    assert lite.counts().ended[State.SUCCEEDED] == 200


FORKS = """
from tests.worker.harmful import forks_and_returns
saved = [forks_and_returns.enqueue({path!r}) for _ in range(3)]
belayed.Worker(threads=1).run(until_empty=True)
assert {{job.refresh().state for job in saved}} == {{"succeeded"}}
"""


def test_a_copy_of_a_worker_that_a_job_forks_runs_no_other_job(lite: Jobs, effects: Path) -> None:
    with program(lite, FORKS.format(path=str(effects))) as other:
        code = other.ended()

    assert code == 0, other.errors
    assert len(effects.read_text("utf-8").splitlines()) == 3
