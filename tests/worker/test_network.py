"""Workers on other machines than their database: an address that moves, a network that is cut, a pooler in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from belayed import State
from belayed.jobs import Jobs
from tests.poolers import TransactionPooler
from tests.proxy import FaultProxy
from tests.worker import wild
from tests.worker.helpers import eventually, execute, logged, worker
from tests.worker.tasks import double
from tests.worker.test_frozen import LAPSE, behind, ended
from tests.worker.test_wakeup import SELDOM, SOON, hears, rests, waited
from tests.worker.tree import over, runs, tree

BRISK = {"beat": timedelta(seconds=0.3), "lapse": timedelta(seconds=3)}


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[FaultProxy]:
    with FaultProxy(postgres_url) as proxy:
        yield proxy


@pytest.fixture
def remote(proxy: FaultProxy, opened: Callable[..., Jobs], postgres_url: str) -> Jobs:
    """Jobs in PostgreSQL at the other end of a network, for the worker; the test enqueues past it."""
    jobs = opened(proxy.url)
    opened(postgres_url)
    return jobs


@pytest.mark.parametrize("fault", ["fail over", "cut", "black hole"])
def test_after_an_outage_a_worker_hears_of_new_jobs_at_once(proxy: FaultProxy, remote: Jobs, fault: str) -> None:
    with worker(remote, poll_interval=SELDOM, **BRISK) as running:
        eventually(lambda: hears(running))
        assert running.loop is not None
        before = running.loop.wakeup.listener

        if fault == "fail over":
            proxy.fail_over()
        elif fault == "cut":
            proxy.cut()
        else:
            proxy.black_hole()
            eventually(lambda: running.loop and running.loop.outages)
            proxy.forward()

        eventually(lambda: hears(running) and running.loop.wakeup.listener is not before, within=20)
        assert double.enqueue(1).wait(SOON).result == 2


def test_a_worker_whose_own_connection_is_opened_anew_hears_there(postgres: Jobs) -> None:
    with worker(postgres, poll_interval=SELDOM, **BRISK) as running:
        eventually(lambda: hears(running))
        assert running.loop is not None
        before = running.loop.wakeup.listener

        working = running.loop.line.connection.raw.info.backend_pid
        execute(postgres, f"SELECT pg_terminate_backend({working}, 5000)")

        eventually(lambda: hears(running) and running.loop.wakeup.listener is not before, within=20)


def test_until_hints_are_proved_again_a_worker_polls(proxy: FaultProxy, remote: Jobs) -> None:
    with worker(remote, poll_interval=SELDOM, **BRISK) as running:
        eventually(lambda: hears(running) and rests(running))
        assert running.loop is not None

        running.loop.wakeup.prove_at = float("inf")
        running.loop.wakeup.opened_at = time.monotonic() + 3600
        proxy.cut()

        eventually(lambda: not hears(running))
        waits = waited(running)
    assert max(waits) < 0.5, waits


def test_a_listener_that_alone_is_dead_is_found_out_by_the_first_job_of_which_it_does_not_tell(
    remote: Jobs, proxy: FaultProxy
) -> None:
    with worker(remote, poll_interval=timedelta(seconds=2), **BRISK) as running:
        eventually(lambda: hears(running) and rests(running))
        assert running.loop is not None
        before = running.loop.wakeup.listener
        dead = before.own.raw.pgconn.socket
        (link,) = [link for link in proxy.links if link.pid == before.own.raw.info.backend_pid]
        assert dead
        link.dead = True
        running.loop.wakeup.proved_at -= 60

        double.enqueue(1).wait(SOON)

        eventually(lambda: hears(running) and running.loop.wakeup.listener is not before, within=20)


@pytest.mark.parametrize("own_keys", [True, False])
def test_a_worker_behind_a_pooler_leaves_nothing_there_and_rests_when_nothing_comes(
    postgres_url: str, opened: Callable[..., Jobs], own_keys: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "belayed")
    opened(postgres_url)
    with TransactionPooler(postgres_url, own_keys=own_keys) as pooler:
        jobs = opened(pooler.url)
        with worker(jobs, poll_interval=SELDOM) as running:
            eventually(lambda: running.loop and running.loop.wakeup.shared)
            assert running.loop is not None
            often = running.loop.wakeup.poll_after()
            waits = waited(running)
            running.loop.wakeup.busy_at -= 60
            seldom = running.loop.wakeup.poll_after()
            double.enqueue(1).wait(SOON)
            often_again = running.loop.wakeup.poll_after()

        assert logged(caplog, "through which no hints arrive")
        assert pooler.listening() == pooler.strays == 0
    assert max(waits) < 0.5, waits
    assert often < 0.2 < 0.7 < seldom
    assert often_again < 0.2


def test_a_worker_that_is_cut_off_starts_nothing_after_its_lapse_and_comes_back(
    proxy: FaultProxy, remote: Jobs, postgres_url: str, opened: Callable[..., Jobs], tmp_path: Path, effects: Path
) -> None:
    direct = opened(postgres_url)
    long, others, quick = behind(effects, tmp_path, 1.5 * LAPSE)

    with tree(remote, tmp_path / "log-1", threads=1) as cut_off:
        eventually(lambda: runs(effects))
        eventually(lambda: direct.counts().ended.get(State.SUCCEEDED) == 100)
        own = set(cut_off.children())
        proxy.black_hole()
        with tree(direct, tmp_path / "log-2"):
            over(long, *others)
            eventually(lambda: effects.read_text().count("done") == 2)
            before = ended(direct, long, *others)
        started = {pid for pid, _ in runs(quick)}

        proxy.forward()

        (line,) = cut_off.says("was refused")
        assert cut_off.says("the store is available again")
        again = wild.ends.enqueue(str(tmp_path / "again"))
        over(again)
        assert cut_off.popen.poll() is None

    assert f"#{long.id} was refused" in line
    assert ended(direct, long, *others) == before
    assert not started & own
    assert (long.rescues, len(runs(effects)), len(runs(quick))) == (1, 2, 50)
    assert again.state is State.SUCCEEDED
