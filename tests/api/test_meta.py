"""What travels with a job in its `meta` is written once: a change in a job would reach nobody, so it is refused."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from belayed import Job, current_job, task
from belayed.testing import inline

WRITES = {
    "set": lambda meta: meta.__setitem__("a", 2),
    "delete": lambda meta: meta.__delitem__("a"),
    "update": lambda meta: meta.update(a=2),
    "default": lambda meta: meta.setdefault("b", 2),
    "pop": lambda meta: meta.pop("a"),
    "popitem": lambda meta: meta.popitem(),
    "clear": lambda meta: meta.clear(),
    "or": lambda meta: meta.__ior__({"a": 2}),
}


@task(max_attempts=1)
def writes(how: str) -> None:
    WRITES[how](current_job().meta)


@task
def reads() -> Any:
    return {**current_job().meta}


def job_with(jobs, task_, *args: Any, meta: dict[str, Any] | None = None) -> Job:
    draft = task_.draft(*args)
    draft.meta.update({"a": 1} if meta is None else meta)
    return jobs.enqueue(draft)


@pytest.mark.parametrize("how", WRITES)
@pytest.mark.parametrize("meta", [{"a": 1}, {}], ids=["some", "none"])
def test_a_change_in_a_job_is_refused_with_what_to_do(jobs, work_off, how, meta):
    job = job_with(jobs, writes, how, meta=meta)

    work_off(jobs)

    assert job.refresh().error is not None
    assert job.error.startswith("TypeError: meta is written once, when a job is enqueued")
    assert dict(job.meta) == meta


def test_a_change_is_refused_wherever_a_job_comes_from(each_jobs):
    job = job_with(each_jobs, reads)

    for one in (job, each_jobs.get(job.id), *each_jobs.find()):
        with pytest.raises(TypeError, match="would be lost"):
            one.meta["a"] = 2
        with pytest.raises(TypeError, match="would be lost"):
            one.meta |= {"a": 2}


def test_a_change_is_refused_inline(jobs):
    with inline(), pytest.raises(TypeError, match="would be lost"):
        job_with(jobs, writes, "set")


def test_it_is_read_and_copied_as_a_dictionary(each_jobs, work_off):
    job = job_with(each_jobs, reads)
    work_off(each_jobs)

    meta = each_jobs.get(job.id).meta
    copies = [copy.copy(meta), copy.deepcopy(meta), pickle.loads(pickle.dumps(meta)), meta.copy(), meta | {}, {**meta}]

    assert job.refresh().result == {"a": 1}
    assert meta == {"a": 1}
    assert all(type(one) is dict and one == {"a": 1} for one in copies)
