"""Settings come from arguments, then the environment, then the defaults; what is wrong with one is said by its name."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest

from belayed.config import Address, Config, WorkerConfig, address, check_variables, default_url, settings
from belayed.errors import ConfigError
from belayed.parsing import duration


class TestAddress:
    @pytest.mark.dj(88, 346)
    @pytest.mark.parametrize(
        ("url", "dialect", "target"),
        [
            ("sqlite:///jobs.db", "sqlite", "/here/jobs.db"),
            ("sqlite:////var/jobs.db", "sqlite", "/var/jobs.db"),
            ("sqlite:///a%20b%23.db", "sqlite", "/here/a b#.db"),
            ("sqlite:///./../jobs.db", "sqlite", "/here/../jobs.db"),
            ("sqlite://", "sqlite", ":memory:"),
            ("sqlite:///:memory:", "sqlite", ":memory:"),
            ("sqlite+aiosqlite:///jobs.db", "sqlite", "/here/jobs.db"),
            ("postgresql://u:p@host:1/db?x=1", "postgresql", "postgresql://u:p@host:1/db?x=1"),
            ("postgres://host/db", "postgresql", "postgresql://host/db"),
            ("postgresql+asyncpg://host/db", "postgresql", "postgresql://host/db"),
            ("PostgreSQL://host/db", "postgresql", "postgresql://host/db"),
        ],
    )
    def test_a_url_names_a_dialect_and_a_target(self, monkeypatch, url, dialect, target):
        monkeypatch.setattr(Path, "cwd", lambda: Path("/here"))

        assert address(url) == Address(dialect, target)

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("oracle://u:secret@host/db", "unknown scheme 'oracle'; use sqlite or postgresql"),
            ("jobs.db", "not a URL; write sqlite:///jobs.db"),
            ("sqlite:jobs.db", "not a URL"),
            ("", "not a URL"),
            ("sqlite://jobs.db", "write sqlite:///relative/file.db"),
            ("sqlite:///jobs.db?mode=ro", "write sqlite:///relative/file.db"),
            ("sqlite:///file::memory:?cache=shared", "write sqlite:///relative/file.db"),
            ("sqlite:///file::memory:", "write sqlite:///relative/file.db"),
            ("sqlite:///file%3Ajobs.db", "write sqlite:///relative/file.db"),
        ],
    )
    def test_any_other_is_refused(self, url, message):
        with pytest.raises(ConfigError) as caught:
            address(url)

        assert message in str(caught.value)
        assert "secret" not in str(caught.value)


class TestDefaultUrl:
    def test_its_own_variable_comes_first(self):
        assert default_url({"BELAYED_URL": "sqlite:///b", "DATABASE_URL": "sqlite:///d"}) == "sqlite:///b"
        assert default_url({"BELAYED_URL": "", "DATABASE_URL": "sqlite:///d"}) == "sqlite:///d"

    def test_a_project_has_its_database_beside_its_pyproject(self, tmp_path, monkeypatch):
        (tmp_path / "pyproject.toml").touch()
        (tmp_path / "src" / "deep").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / "src" / "deep")

        assert address(default_url({})) == Address("sqlite", str(tmp_path / "belayed.db"))

    @pytest.mark.parametrize("name", ["a#b", "100%20", "what?", "with space", "ü"])
    def test_any_folder_will_do(self, tmp_path, monkeypatch, name):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pyproject.toml").touch()
        monkeypatch.chdir(tmp_path / name)

        assert address(default_url({})) == Address("sqlite", str(tmp_path / name / "belayed.db"))


@pytest.mark.parametrize("queue", ["mail*", "*mail", "!", "!*", "!!mail", "!mail*", "mail,urgent", ""])
def test_what_no_queue_is_called_is_not_served(queue: str) -> None:
    with pytest.raises(
        ConfigError, match=r"it takes names of queues as they are, \* for all, or !name for all but that"
    ):
        WorkerConfig(queues=("urgent", queue))


class TestSettings:
    def test_what_is_given_comes_before_the_environment(self):
        found = settings(Config, {"max_attempts": 3}, {"BELAYED_MAX_ATTEMPTS": "4", "BELAYED_PREFIX": "x_"})

        assert (found.max_attempts, found.prefix, found.default_queue) == (3, "x_", "default")

    @pytest.mark.parametrize(
        ("variable", "text", "value"),
        [
            ("BELAYED_MAX_RUN_TIME", "90", timedelta(seconds=90)),
            ("BELAYED_MAX_RUN_TIME", "0.5", timedelta(seconds=0.5)),
            ("BELAYED_MAX_RUN_TIME", "none", None),
            ("BELAYED_MAX_RUN_TIME", " 5 m ", timedelta(minutes=5)),
            ("BELAYED_KEEP_FAILED", "7d", timedelta(days=7)),
            ("BELAYED_KEEP_FAILED", "true", True),
            ("BELAYED_KEEP_FAILED", "No", False),
            ("BELAYED_LOG_ARGUMENTS", "on", True),
            ("BELAYED_TRUST", "shop, mail.tasks,", ("shop", "mail.tasks")),
            ("BELAYED_SCHEMA", "jobs", "jobs"),
            ("BELAYED_MAX_ATTEMPTS", " 7 ", 7),
        ],
    )
    def test_a_variable_is_read_as_its_setting_says(self, variable, text, value):
        found = settings(Config, {}, {variable: text})

        assert getattr(found, variable.removeprefix("BELAYED_").lower()) == value

    @pytest.mark.parametrize(
        ("variable", "text"),
        [
            ("BELAYED_MAX_RUN_TIME", "soon"),
            ("BELAYED_MAX_RUN_TIME", "-5"),
            ("BELAYED_MAX_RUN_TIME", "99999999999999d"),
            ("BELAYED_MAX_ATTEMPTS", "many"),
            ("BELAYED_MAX_ATTEMPTS", "0"),
            ("BELAYED_LOG_ARGUMENTS", "perhaps"),
            ("BELAYED_SYNCHRONOUS", "off"),
            ("BELAYED_STORE_TIMEOUT", "0"),
            ("BELAYED_STORE_TIMEOUT", "2d"),
            ("BELAYED_PREFIX", "a-b"),
        ],
    )
    def test_a_wrong_variable_is_named(self, variable, text):
        with pytest.raises(ConfigError, match=variable):
            settings(Config, {}, {variable: text})

    @pytest.mark.dj(135)
    def test_an_unknown_setting_is_named_with_those_there_are(self):
        with pytest.raises(ConfigError, match=r"unknown setting 'thread': there are .*threads"):
            settings(WorkerConfig, {"thread": 1}, {})

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"max_run_time": 60}, "max_run_time is 60: it takes a timedelta or None"),
            ({"max_attempts": "3"}, "max_attempts is '3': it takes a int"),
            ({"max_attempts": True}, "max_attempts is True: it takes a int"),
            ({"keep_failed": 1}, "keep_failed is 1: it takes a timedelta or bool"),
            ({"url": None}, "url is a NoneType: it takes a str"),
        ],
    )
    def test_a_value_of_the_wrong_type_is_refused(self, given, message):
        with pytest.raises(ConfigError) as caught:
            settings(Config, given, {})

        assert str(caught.value) == message

    def test_one_package_may_be_given_without_a_list(self):
        assert settings(Config, {"trust": "shop"}, {}).trust == ("shop",)
        assert settings(Config, {"trust": ["a", "b"]}, {}).trust == ("a", "b")

    @pytest.mark.parametrize(
        "given",
        [{"threads": 0}, {"queues": ()}, {"lapse": timedelta(seconds=9)}, {"beat": timedelta()}, {"read_ahead": 0}],
        ids=str,
    )
    def test_a_worker_that_could_not_work_is_refused(self, given):
        with pytest.raises(ConfigError, match=f"{next(iter(given))} .*it takes"):
            settings(WorkerConfig, given, {})


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("30s", 30), ("5m", 300), ("12h", 43200), ("7d", 604800), ("1.5h", 5400)]
)
def test_a_time_may_have_a_unit(text, seconds):
    assert duration(text) == timedelta(seconds=seconds)


class TestVariables:
    @pytest.mark.parametrize(
        ("variable", "meant"),
        [
            ("BELAYED_THREAD", "BELAYED_THREADS"),
            ("BELAYED_MAXATTEMPTS", "BELAYED_MAX_ATTEMPTS"),
        ],
    )
    @pytest.mark.parametrize("kind", [Config, WorkerConfig])
    def test_a_misspelt_one_is_refused(self, kind, variable, meant):
        with pytest.raises(ConfigError, match=rf"^{variable} is set, .* did you mean {meant}\? unset {variable}$"):
            settings(kind, {}, {variable: "5"})

    @pytest.mark.parametrize(
        "variable",
        [
            "BELAYED_APP",
            "BELAYED_SERVICE_HOST",
            "BELAYED_PORT_5432_TCP_ADDR",
            "BELAYED_TEAM",
            "THREAD",
            "BELAYED",
            "BELAYED_",
        ],
    )
    def test_those_of_others_are_none_of_ours(self, variable):
        assert settings(WorkerConfig, {}, {variable: "5"}) == settings(WorkerConfig, {}, {})

    def test_none_is_taken_for_another(self):
        for kind in (Config, WorkerConfig):
            for one in fields(kind):
                check_variables({f"BELAYED_{one.name.upper()}": "5"})


@pytest.mark.parametrize(
    ("given", "value"), [("1h", timedelta(hours=1)), ("90", timedelta(seconds=90)), (False, False)]
)
def test_a_time_may_be_given_as_text_as_in_the_environment(given, value):
    assert settings(Config, {"keep_succeeded": given}, {}).keep_succeeded == value


def test_a_text_that_is_no_time_is_refused():
    with pytest.raises(ConfigError, match=r"keep_succeeded='soon': 'soon' is no time: write seconds \(90\) or a unit"):
        settings(Config, {"keep_succeeded": "soon"}, {})
