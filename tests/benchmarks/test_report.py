"""The page of a result: it says what was measured, what was not, and what was missed."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.figures import Table
from benchmarks.report import page_of
from benchmarks.results import Result
from benchmarks.summary import summary
from benchmarks.targets import ALL

SAMPLE = Path(__file__).parent / "sample.json"


@pytest.fixture
def result():
    return Result.load(SAMPLE)


@pytest.fixture
def page(result):
    return page_of(result, "sample.json")


def row(page: str, target: str) -> str:
    return next(line for line in page.splitlines() if f"| {target} |" in line)


def test_a_target_that_is_reached_is_met(page):
    assert row(page, "≥ 2.0 × PgQueuer at its best").endswith("| 2.5 × | met |")


def test_a_target_that_is_not_reached_is_missed(page):
    assert row(page, "≥ 0.55 × a bare psycopg loop").endswith("| 0.5 × | **missed** |")
    assert row(page, "p99 ≤ 8 ms").endswith("| 9 ms | **missed** |")


def test_a_target_without_a_figure_is_not_met(page):
    assert row(page, "threads ≥ 4,000/s").endswith("| not measured | – |")


def test_each_target_stands_on_the_page(page):
    for target in ALL:
        assert f"| {target.says} |" in page


def test_the_best_peer_counts_whatever_its_settings(page):
    assert row(page, "≥ 1.25 × the best PostgreSQL peer").endswith("| 1.2 × | **missed** |")


def test_the_longest_wait_of_a_probe_counts(page):
    assert row(page, "retried, promoted and late-committed jobs start within 2 s").endswith("| 1.1 s | met |")


def test_what_could_not_be_measured_is_said(page):
    assert "**oban** was not measured: `no Python 3.12 is here, which it needs`" in page
    assert "Huey, drain, run 1: `Failed: no job has started`" in page


def test_settings_link_to_who_advises_them(page):
    assert "| PgQueuer (best) | `batch_size = 1000` | [example.org/tuning](https://example.org/tuning) |" in page


def test_versions_machine_and_settings_are_on_the_page(page):
    for told in ("pgqueuer 1.6.0", "cores 2", "PostgreSQL 18.1", "fsync = on", "2026-05-01 12:00 UTC"):
        assert told in page


def test_the_page_has_a_chart_of_each_kind(page):
    charts = [part for part in page.split("```") if "<svg" in part]

    assert [part.count("<rect") for part in charts] == [3, 2, 2]


def test_a_result_comes_back_from_its_file(result, tmp_path):
    path = tmp_path / "results" / "one.json"

    result.save(path)

    assert Result.load(path) == result


def test_the_terminal_shows_ratios_and_what_failed(result):
    console = Console(width=160, record=True, file=io.StringIO())

    console.print(summary(result))

    shown = console.export_text()
    assert "2.5" in shown
    assert "Huey redis default, drain: Failed: no job has started" in shown
    assert "oban was not measured" in shown


def test_targets_that_may_not_be_missed_are_those_of_drain_enqueue_and_latency():
    deciding = {target.work for target in ALL if target.decides}

    assert len(deciding) == 5
    assert all("drain" in work or "enqueue" in work or "latency" in work or "the same" in work for work in deciding)


def test_a_line_that_failed_has_no_figures_in_the_table(result):
    assert Table(result.lines).median("huey", "drain", "jobs/s") is None


def test_what_was_measured_again_takes_the_place_of_what_it_repeats(result):
    again = Result.load(SAMPLE)
    again.lines = [line for line in again.lines if line.workload == "latency" and line.name == "belayed/postgresql"]
    for line in again.lines:
        line.figures = {**line.figures, "p99 ms": 7.0}

    renewed = result.renewed(again)

    assert row(page_of(renewed, "sample.json"), "p99 ≤ 8 ms").endswith("| 7 ms | met |")
    assert len(renewed.lines) == len(result.lines)
