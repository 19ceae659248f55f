"""Medians, ratios and quantiles."""

import pytest

from benchmarks.figures import Table, number, quantile
from benchmarks.results import Line


def line(name: str, run: int, rate: float, variant: str = "default") -> Line:
    figures = {"jobs/s": rate}
    return Line(name, name, "postgresql", variant, "drain", run=run, jobs=1, cal=10.0, figures=figures)


def test_a_ratio_is_the_median_of_the_ratios_within_runs():
    # The ratio of the medians would be 20 / 15.
    ours, theirs = {1: 10.0, 2: 20.0, 3: 60.0}, {1: 5.0, 2: 15.0, 3: 20.0}
    table = Table([])

    ratio = table.ratio(ours, theirs)

    assert ratio == 2.0


def test_a_run_that_only_one_of_two_has_is_in_no_ratio():
    table = Table([])

    assert table.ratio({1: 10.0, 2: 30.0}, {1: 5.0}) == 2.0
    assert table.ratio({1: 10.0}, {2: 5.0}) is None


def test_a_median_is_of_one_variant_of_one_contestant():
    table = Table(
        [line("a", 1, 1.0), line("a", 2, 2.0), line("a", 3, 9.0), line("a", 4, 100.0, "best"), line("b", 1, 50.0)]
    )

    assert table.median("a", "drain", "jobs/s") == 2.0
    assert table.median("a", "drain", "jobs/s", "best") == 100.0
    assert table.median("c", "drain", "jobs/s") is None


def test_the_best_of_several_is_the_one_with_the_largest_median():
    table = Table([
        *[line("a", run, rate) for run, rate in ((1, 1.0), (2, 7.0), (3, 1.0))],
        *[line("a", run, rate, "best") for run, rate in ((1, 4.0), (2, 5.0), (3, 6.0))],
        *[line("b", run, rate) for run, rate in ((1, 9.0), (2, 3.0), (3, 3.0))],
        line("c", 1, 99.0),
    ])  # fmt: skip

    assert table.best(("a", "b"), "drain", "jobs/s") == {1: 4.0, 2: 5.0, 3: 6.0}
    assert table.best(("d",), "drain", "jobs/s") == {}


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_quantile_is_the_nearest_rank(share, value):
    assert quantile(range(1, 101), share) == value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (0.0394, "0.0394"),
        (0.797, "0.797"),
        (2.0, "2"),
        (9.78, "9.78"),
        (42.21, "42.2"),
        (12_868.7, "12,869"),
    ],
)
def test_a_figure_has_three_digits_that_count(value, shown):
    assert number(value) == shown
