"""Python's search for garbage is off for as long as many rows are made, and no longer."""

from __future__ import annotations

import gc

from belayed.garbage import uncollected
from tests.stopped import stopped


def test_it_is_off_within_and_then_as_it_was():
    assert gc.isenabled()

    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            pass
        assert not gc.isenabled()

    assert gc.isenabled()


def test_a_job_that_is_stopped_there_does_not_leave_it_off():
    def make() -> None:
        with uncollected():
            pass

    with stopped(make, times=2000):
        pass

    found = gc.isenabled()
    gc.enable()
    assert found
