"""Fixtures for pytest: they are there wherever Belayed is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def belayed_jobs() -> Iterator[Any]:
    """The program's `Jobs`, on an SQLite file of this test's own."""
    from belayed.testing import isolated

    with isolated() as jobs:
        yield jobs


@pytest.fixture
def belayed_inline() -> Iterator[None]:
    """Jobs run at once, where they are enqueued."""
    from belayed.testing import inline

    with inline():
        yield


@pytest.fixture
def belayed_held() -> Iterator[list[Any]]:
    """Nothing is saved: the jobs that would be."""
    from belayed.testing import held

    with held() as jobs:
        yield jobs
