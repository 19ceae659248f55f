"""A child or its supervisor is killed at each stage of an attempt."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.crash.scenario import Scenario, struck
from tests.crash.test_kill_points import scenario
from tests.worker.helpers import execute

__all__ = ["scenario"]

STAGES = ("handed over", "started", "effect", "outcome ready", "outcome sent")


@pytest.mark.deep
@pytest.mark.parametrize("whom", ["child", "supervisor"])
def test_a_kill_at_any_stage_of_an_attempt_loses_nothing(whom: str, scenario: Scenario) -> None:
    def strike(stage: str) -> bool:
        run = f"{whom} {stage}"
        scenario.prepare(queue := run.replace(" ", "-"))
        return struck(scenario, run, queue, CRASH_STAGE=stage, CRASH_WHOM=whom)

    with ThreadPoolExecutor(2) as pool:
        killed = list(pool.map(strike, STAGES))
    scenario.finish()

    happened = len(list(scenario.ledger.parent.glob("*.struck")))
    assert happened == len(STAGES)
    assert killed == [whom == "supervisor"] * len(STAGES)
    assert scenario.check() == []
    if whom == "supervisor":
        assert execute(scenario.jobs, "SELECT count(*) FROM belayed_history WHERE crashes > 0") == [(0,)]
