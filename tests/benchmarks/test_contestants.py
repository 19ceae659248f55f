"""What the folders of the measured programs must say, and that they take turns."""

import itertools
import re
import struct

import pytest

from benchmarks import contestants, plan, workloads
from benchmarks.contestants import PEERS
from benchmarks.environments import NotInstalled, interpreter
from benchmarks.peers.peer import MARK
from benchmarks.programs import Failed, Marks, Run
from benchmarks.scale import plan as scale

EVERYONE = contestants.everyone()
OTHERS = [one for one in EVERYONE if not one.bare and one.program != "belayed"]
VARIANTS = [(one, variant) for one in OTHERS for variant in one.variants]


def test_all_peers_are_there():
    expected = {"pgqueuer", "procrastinate", "oban", "django_tasks_db", "huey", "celery", "rq"}

    assert {one.program for one in OTHERS} == expected


@pytest.mark.parametrize(("peer", "variant"), VARIANTS, ids=lambda one: getattr(one, "name", ""))
def test_settings_that_are_no_defaults_name_the_page_that_advises_them(peer, variant):
    if variant.name == "default":
        assert not variant.options
        assert not variant.environment
        return
    assert variant.source.startswith("https://")
    comments = "".join(re.findall(r"^#.*$", (peer.folder / "settings.toml").read_text(), re.MULTILINE))
    assert variant.source.partition("index.html")[0] in comments


@pytest.mark.parametrize("peer", OTHERS, ids=lambda one: one.name)
def test_a_peer_is_measured_at_its_defaults_and_at_its_best(peer):
    names = {variant.name for variant in peer.variants}

    assert {"default", "best"} <= names
    assert {"drain", "latency", "idle", "enqueue one"} <= {*peer.variants[0].jobs}


@pytest.mark.parametrize("peer", OTHERS, ids=lambda one: one.name)
def test_the_versions_of_a_peer_are_pinned(peer):
    assert peer.requirements is not None
    wanted = [line for line in peer.requirements.read_text().splitlines() if line and not line.startswith("#")]

    assert wanted
    assert all(re.fullmatch(r"[\w\-\[\],]+==[\d.]+", line) for line in wanted)


@pytest.mark.parametrize("one", EVERYONE, ids=lambda one: one.name)
def test_workloads_have_known_names_and_sizes(one):
    for variant in one.variants:
        for workload, jobs in variant.jobs.items():
            assert workload in workloads.ALL
            assert jobs > 0 or workload in workloads.UNSIZED


def test_programs_under_measurement_import_no_more_than_their_own():
    for path in PEERS.glob("*/peer.py"):
        ours = re.findall(r"^from (benchmarks\S*|tests\S*) import", path.read_text(), re.MULTILINE)
        assert ours == ["benchmarks.peers.peer"]


def test_programs_take_turns_within_a_workload_and_a_run():
    steps = list(plan.steps(EVERYONE, runs=2, quick=False, size=1))

    blocks = [(step.run, step.workload) for step in steps]
    changes = [blocks[0], *(block for last, block in itertools.pairwise(blocks) if block != last)]
    assert len(changes) == len(set(changes))
    assert {step.run for step in steps if step.workload == "enqueue many"} == {1, 2}


def test_short_workloads_of_what_ratios_compare_have_more_rounds():
    steps = [one for one in plan.steps(EVERYONE, runs=2, quick=False, size=1) if one.workload in plan.SHORT]

    assert {one.run for one in steps if one.contestant.name == "belayed/postgresql"} == set(range(1, 7))
    assert {one.run for one in steps if one.contestant.bare and one.contestant.store == "sqlite"} == set(range(1, 7))
    assert {one.run for one in steps if one.contestant.program == "pgqueuer"} == set(range(1, 7))
    assert {one.run for one in steps if one.contestant.program == "oban"} == {1, 2}


def test_a_quick_run_has_what_its_ratios_need():
    steps = [(step.contestant.program, step.workload) for step in plan.steps(EVERYONE, runs=1, quick=True, size=1)]

    for workload in ("drain", "enqueue one", "enqueue many"):
        assert {("belayed", workload), ("pgqueuer", workload), ("bare_postgresql", workload)} <= set(steps)


def test_big_tables_are_measured_for_belayed_alone():
    steps = [step for step, _ in scale.steps(EVERYONE, runs=3, full=False)]

    assert {step.contestant.program for step in steps} == {"belayed"}
    assert sum(step.workload == "100,000 ready" and step.contestant.store == "postgresql" for step in steps) == 3


def test_a_peer_that_cannot_be_installed_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.environments.BASE", tmp_path)
    monkeypatch.setattr("benchmarks.environments.find_python", lambda versions: None)
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("nothing==1\n")

    with pytest.raises(NotInstalled, match=r"no Python 9\.9 is here"):
        interpreter("nothing", requirements, ["9.9"])


@pytest.fixture
def marked(tmp_path):
    """A run whose jobs have left these marks."""

    def leave(*numbers: int) -> Run:
        (tmp_path / "marks").write_bytes(b"".join(MARK.pack(float(at), number) for at, number in enumerate(numbers)))
        run = Run.__new__(Run)
        run.marks = Marks(tmp_path / "marks")
        return run

    return leave


def test_each_job_must_have_left_one_mark(marked):
    assert workloads.check_marks(marked(1, 0, 2), 3) == [(0.0, 1), (1.0, 0), (2.0, 2)]


@pytest.mark.parametrize("numbers", [(0, 1), (0, 1, 1), (0, 1, 2, 2), (0, 1, 3)])
def test_lost_and_repeated_jobs_are_found(marked, numbers):
    with pytest.raises(Failed, match="3 jobs were enqueued"):
        workloads.check_marks(marked(*numbers), 3)


def test_a_mark_is_written_by_one_write(tmp_path, monkeypatch):
    from benchmarks.peers import peer

    monkeypatch.setenv(peer.MARKS, str(tmp_path / "marks"))
    peer.marks.cache_clear()

    peer.mark(7)

    peer.marks.cache_clear()
    ((at, number),) = Marks(tmp_path / "marks").read()
    assert number == 7
    assert at > 0
    assert struct.calcsize("<dq") == (tmp_path / "marks").stat().st_size
