"""Two applications on the same tables: each has workers that do not know the other's tasks."""

from __future__ import annotations

import json
import logging

import pytest

from belayed import Jobs, State, Worker
from belayed.worker.strangers import BOUNCED, TASKS
from tests.worker.helpers import due, eventually, execute, logged
from tests.worker.tasks import double
from tests.worker.tree import tree

WARNING = "applications on the same tables hand each other's jobs back and forth"


def saved(jobs, ref):
    """A job that a process with other code has saved."""
    job = jobs.enqueue(double.draft(1))
    envelope = {"v": 1, "call": ref, "args": [], "kwargs": {}}
    name = ref.replace(":", ".")
    execute(jobs, f"UPDATE belayed_jobs SET task = '{name}', payload = '{json.dumps(envelope)}' WHERE id = {job.id}")
    return job


def work(jobs):
    return Worker(jobs).run(until_empty=True)


def test_jobs_of_another_application_are_pointed_out_once_with_a_setting_to_copy(jobs, caplog):
    others = [saved(jobs, f"patisserie.jobs:bake_{number}") for number in range(2 * BOUNCED)]

    with caplog.at_level(logging.WARNING, "belayed"):
        work(jobs)

    (line,) = logged(caplog, WARNING)
    assert line.startswith("jobs of packages that this worker does not have (patisserie) come to it: ")
    assert "BELAYED_PREFIX=patisserie_ " in line
    assert "BELAYED_SCHEMA=patisserie " in line
    assert {job.refresh().state for job in others} == {State.SCHEDULED}


def test_one_job_that_comes_back_again_and_again_is_enough(jobs, caplog):
    job = saved(jobs, "patisserie.jobs:bake")

    with caplog.at_level(logging.WARNING, "belayed"), Worker(jobs):
        for times in range(1, BOUNCED):
            eventually(lambda: len(logged(caplog, "went back to its queue, not charged")) == times)  # noqa: B023
            assert not logged(caplog, WARNING)
            due(job)
        eventually(lambda: logged(caplog, WARNING))


@pytest.mark.parametrize(
    "ref", ["tests.worker.tasks:appears", "tests.worker.appearing:task", "tests.absent.deeper:task"]
)
def test_tasks_that_a_newer_release_brings_are_not_taken_for_another_application(lite, caplog, ref):
    for _ in range(2 * BOUNCED):
        saved(lite, ref)

    with caplog.at_level(logging.WARNING, "belayed"):
        work(lite)

    assert logged(caplog, "went back to its queue, not charged")
    assert not logged(caplog, WARNING)


def test_many_tasks_without_code_are_pointed_out_though_their_package_is_here(lite, caplog):
    for number in range(TASKS):
        saved(lite, f"tests.worker.tasks:other_{number}")

    with caplog.at_level(logging.WARNING, "belayed"):
        work(lite)

    (line,) = logged(caplog, WARNING)
    assert line.startswith(f"jobs of {TASKS} tasks that this worker does not have come to it: ")


def test_a_dependency_that_is_missing_is_not_another_application(lite, caplog, tmp_path, monkeypatch):
    (tmp_path / "lacking.py").write_text("import nothing_like_it\n")
    monkeypatch.syspath_prepend(tmp_path)
    for _ in range(2 * BOUNCED):
        saved(lite, "lacking:task")

    with caplog.at_level(logging.WARNING, "belayed"):
        work(lite)

    assert not logged(caplog, WARNING)


def test_a_worker_with_children_points_it_out_too(jobs, tmp_path):
    for number in range(BOUNCED):
        saved(jobs, f"patisserie.jobs:bake_{number}")

    with tree(jobs, tmp_path / "log"):
        eventually(lambda: WARNING in (tmp_path / "log").read_text())

    assert (tmp_path / "log").read_text().count(WARNING) == 1


def test_applications_with_prefixes_share_a_database_without_meeting(url):
    shop, patisserie = Jobs(url, prefix="shop_"), Jobs(url, prefix="patisserie_")
    shop.migrate()
    patisserie.migrate()
    job = double.using(jobs=shop).enqueue(1)

    assert work(patisserie).ended == 0
    assert work(shop).succeeded == 1
    assert job.refresh().state is State.SUCCEEDED
    shop.close()
    patisserie.close()
