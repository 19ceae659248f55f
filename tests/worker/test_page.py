"""Whatever a job writes into the page that its child shares with the supervisor: in doubt it is running."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from belayed.job import Outcome
from belayed.worker.frames import Channel
from belayed.worker.page import clock
from tests.worker.puppets import job, stage

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
NUMBERS = st.floats() | st.sampled_from([0.0, -0.0, -1.0, 1e308, math.nan, math.inf, -math.inf])
CELLS = st.lists(st.tuples(st.integers(0, 7 + 2 * 20), NUMBERS), max_size=12)


@QUICK
@given(CELLS, st.sampled_from([-1e9, -1.0, 0.0]), st.booleans())
def test_nothing_in_the_page_ends_a_supervisor_or_makes_a_child_useless(
    written: list[tuple[int, float]], ago: float, ends: bool
) -> None:
    with stage() as one:
        child, puppet = one.child()
        (cell,) = one.given(child, job(1, max_run_time=100.0))
        one.nursery.watch(0.0)
        for at, number in written:
            child.process.page.numbers[at] = number + ago if at < 3 else number

        one.step()
        one.children.renew(clock() + 500, None)
        puppet.gone = ends
        one.nursery.watch_at = 0.0
        one.step()

        if ends:
            # It had been seen to run, whatever its page says now.
            (finished,) = one.children.outcomes()
            assert finished.outcome is Outcome.CRASHED
            assert 0 <= finished.seconds < 60
            return
        page = child.process.page
        assert (page.valid_from, page.until) == (one.children.lease.valid_from, one.children.lease.until)
        # A child that listens is handed jobs again.
        page.pulse = clock()
        one.given(child, job(2))
        page.end(cell)
        puppet.says("succeeded", [[cell, 1]])
        one.step()
        assert [finished.id for finished in one.children.outcomes()] == [1]
        assert child.working


@pytest.mark.parametrize("pulse", [math.nan, math.inf, -math.inf, 1e308, 0.0, -0.0, -1.0])
def test_a_child_whose_pulse_was_written_over_is_asked_and_no_job_is_handed_to_it_before(pulse: float) -> None:
    with stage() as one:
        child, puppet = one.child()
        one.given(child, job(1))
        far = Channel(puppet.theirs, trusting=True)
        list(far.frames())
        child.sent_at = clock() - 1
        child.process.page.pulse = pulse
        working = child.working

        one.nursery.watch(clock())

        assert not working
        assert [kind for kind, _ in far.frames()] == ["hear"]
        assert one.nursery.due(0.0) < math.inf


@pytest.mark.parametrize("start", [math.nan, math.inf, -math.inf, -1.0, -0.0, 1e308, 5e-324])
@pytest.mark.parametrize("end", [0.0, math.nan, math.inf, -math.inf, -1.0, -0.0, 1e308, 5e-324])
def test_an_attempt_whose_times_cannot_be_is_running(start: float, end: float) -> None:
    with stage() as one:
        child, _ = one.child()
        (cell,) = one.given(child, job(1))
        numbers = child.process.page.numbers
        numbers[8 + 2 * cell], numbers[9 + 2 * cell] = start, end

        (handed,) = child.handed.values()
        left = child.left(handed)

        assert child.runs(handed)
        assert left.running
        assert 0 <= left.seconds < 60


def test_a_job_that_puts_its_start_off_again_and_again_is_over_its_time_all_the_same() -> None:
    with stage() as one:
        child, _ = one.child()
        (cell,) = one.given(child, job(1, max_run_time=1.0))
        (handed,) = child.handed.values()
        first = child.started(handed)

        child.process.page.start(cell)

        assert child.started(handed) == first
