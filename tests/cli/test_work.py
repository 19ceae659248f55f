"""`work` and `workoff`, as processes of their own."""

from __future__ import annotations

import json
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import timedelta

import pytest

from belayed.cli.checks import has_wal_reset_bug
from belayed.cli.working import OF_DELAYED_JOB
from belayed.config import WorkerConfig, settings
from tests.cli.conftest import environment
from tests.patience import patient
from tests.worker.helpers import eventually

LINE = re.compile(r"\d\d:\d\d:\d\d\.\d\d\d (DEBUG|INFO |WARN |ERROR) \S")


@contextmanager
def working(*args):
    """A worker, and what it logs, line by line."""
    command = [sys.executable, "-m", "belayed", "work", *args]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment())
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(process, text):
    """What the process logs, up to a line with *text*."""
    lines = []
    for line in process.stderr:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"it ended without {text!r}: {''.join(lines)}")


@pytest.mark.dj(130, 323)
def test_workoff_runs_what_is_ready_and_exits_with_0(process, enqueue):
    enqueue("send.enqueue('ada'); send.enqueue('nobody'); flaky.enqueue()")

    ended = process("workoff", "--app", "shop")

    lines = ended.stderr.splitlines()
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""
    assert "shop.send #1 succeeded" in ended.stderr
    assert re.search(r"no job is ready after .+: 1 succeeded, 1 failed, 1 to be tried again$", lines[-1])


def test_workoff_with_nothing_to_do_says_so(process, shop):
    ended = process("workoff", "--app", "shop", "--strict")

    assert ended.returncode == 0
    assert ended.stderr.rstrip().endswith("no job ended")


@pytest.mark.parametrize(
    ("code", "exit_code"), [("send.enqueue('ada')", 0), ("send.enqueue('nobody')", 1), ("flaky.enqueue()", 1)]
)
def test_strict_workoff_wants_every_attempt_to_succeed(process, enqueue, code, exit_code):
    enqueue(code)

    ended = process("workoff", "--app", "shop", "--strict")

    assert ended.returncode == exit_code


@pytest.mark.dj(311)
def test_workoff_leaves_scheduled_jobs_and_other_queues(process, enqueue):
    enqueue("from datetime import timedelta; send.using(run_at=timedelta(hours=1)).enqueue('ada'); flaky.enqueue()")

    ended = process("workoff", "--app", "shop", "-q", "mail,slow", "-q", "more")

    assert "serves queues mail, slow, more of " in ended.stderr
    assert ended.stderr.rstrip().endswith("no job ended")


@pytest.mark.dj(302)
def test_workoff_leaves_jobs_of_other_priorities(process, enqueue):
    enqueue("[send.using(priority=number).enqueue('ada') for number in (-5, 0, 5)]")

    ended = process("workoff", "--app", "shop", "--min-priority", "-1", "--max-priority", "1")

    assert "shop.send #2 succeeded" in ended.stderr
    assert ended.stderr.rstrip().endswith(": 1 succeeded")


@pytest.mark.dj(316)
@pytest.mark.parametrize("processes", [0, 1])
def test_jobs_run_in_the_folder_in_which_the_worker_was_started(process, enqueue, shop, folder, processes):
    with shop.open("a") as file:
        file.write("@task\ndef where():\n    import os\n    raise ValueError(os.getcwd())\n")
    enqueue("where.enqueue()")

    ended = process("workoff", "--app", "shop", "--processes", processes)

    assert f"ValueError: {folder}\n" in ended.stderr


@pytest.mark.dj(217)
def test_a_worker_without_an_application_imports_what_jobs_name(process, enqueue, folder):
    enqueue("send.enqueue('ada')")

    ended = process("workoff", "--url", "sqlite:///shop.db")

    assert "1 succeeded" in ended.stderr


def test_a_worker_imports_no_terminal_library(enqueue):
    enqueue("send.enqueue('ada')")
    code = (
        "import sys; from belayed.cli import main; main(['workoff', '--app', 'shop'], standalone_mode=False); "
        "print([name for name in ('rich', 'belayed.cli.web') if name in sys.modules])"
    )

    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, env=environment(), timeout=patient(60))

    assert ended.stdout == "[]\n", ended.stderr
    assert "1 succeeded" in ended.stderr


@pytest.mark.dj(140, 180, 296, 322)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_worker_which_says_what_it_did_and_exits_with_0(enqueue, number):
    enqueue("send.enqueue('ada')")

    with working("--app", "shop", "--threads", "2", "--name", "one") as worker:
        lines = read_until(worker, "#1 succeeded")
        worker.send_signal(number)
        _, rest = worker.communicate(timeout=patient(60))

    assert worker.returncode == 0
    assert re.search(r"belayed \S+ serves all queues of sqlite:////.+/shop.db \(SQLite \S+\) with 2 threads", lines[0])
    assert re.search(r"stopped after .+: 1 succeeded$", rest.rstrip())


@pytest.mark.dj(154, 365)
def test_every_line_of_the_log_has_its_time_and_level(process, enqueue):
    enqueue("send.enqueue('ada')")

    ended = process("workoff", "--app", "shop", "--log-level", "debug")

    assert all(LINE.match(line) for line in ended.stderr.splitlines())


@pytest.mark.dj(263)
def test_arguments_are_logged_only_when_asked_for(process, enqueue):
    enqueue("send.enqueue('s3cret'); send.enqueue('s3cret')")

    plain = process("workoff", "--app", "shop", "--log-level", "debug")
    enqueue("send.enqueue('s3cret')")
    told = process("workoff", "--app", "shop", "--log-level", "debug", "--log-arguments")

    assert "s3cret" not in plain.stderr
    assert "s3cret" in told.stderr


def test_what_steers_a_terminal_is_written_out_in_the_log(process, enqueue, shop):
    shop.write_text(shop.read_text().replace("no such address", r"\x1b[2J"))
    enqueue("send.enqueue('nobody')")

    ended = process("workoff", "--app", "shop")

    assert "\x1b" not in ended.stderr
    assert "ValueError: \\x1b[2J" in ended.stderr


@pytest.mark.dj(131, 365)
def test_the_logging_of_the_application_counts_for_its_jobs(process, enqueue, shop):
    shop.write_text(
        shop.read_text() + "import logging\nlogging.basicConfig(format='mine %(message)s', level='INFO', force=True)\n"
    )
    enqueue("send.enqueue('ada')")

    ended = process("workoff", "--app", "shop")

    lines = [line for line in ended.stderr.splitlines() if "shop.send #1" in line]
    assert len(lines) == 2
    assert all(line.startswith("mine ") for line in lines)


def test_the_logging_of_the_application_counts_for_all_in_one_process(process, enqueue, shop):
    shop.write_text(
        shop.read_text() + "import logging\nlogging.basicConfig(format='mine %(message)s', level='INFO', force=True)\n"
    )
    enqueue("send.enqueue('ada')")

    ended = process("workoff", "--app", "shop", "--processes", "0")

    assert all(line.startswith("mine ") for line in ended.stderr.splitlines())


def test_an_sqlite_with_the_wal_reset_bug_is_warned_of_once(process, shop):
    ended = process("workoff", "--app", "shop")

    warned = [line for line in ended.stderr.splitlines() if "has the WAL-reset bug" in line]
    assert len(warned) == has_wal_reset_bug(sqlite3.sqlite_version)
    assert all("use a Python whose SQLite is 3.51.3 or later" in line for line in warned)


@pytest.mark.dj(319)
@pytest.mark.parametrize("command", ["work", "workoff"])
def test_missing_tables_stop_it_before_it_starts(process, postgres_url, command):
    ended = process(command, "--url", postgres_url)

    assert ended.returncode == 2
    assert ended.stderr.startswith("Error: Belayed's tables are not in this database: run `belayed --url ")
    assert len(ended.stderr.splitlines()) == 1


def test_workoff_works_on_postgresql(process, postgres_url, shop):
    process("migrate", "--url", postgres_url)
    code = f"from shop import *; belayed.configure({postgres_url!r}); send.enqueue('ada')"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(), timeout=patient(60))

    ended = process("workoff", "--app", "shop", "--url", postgres_url)

    assert ended.returncode == 0, ended.stderr
    assert "(PostgreSQL " in ended.stderr
    assert "1 succeeded" in ended.stderr


@pytest.mark.dj(303, 309)
@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (["--threads", "0"], "threads (or BELAYED_THREADS) is 0: it takes 1 or more"),
        (["--threads", "many"], "'many' is not a valid integer"),
        (["--processes", "-1"], "processes (or BELAYED_PROCESSES) is -1: it takes 0 or more"),
        (["--processes", "many"], "'many' is not a valid integer"),
        (["--read-ahead", "0"], "read_ahead (or BELAYED_READ_AHEAD) is 0: it takes 1 or more"),
        (["--poll-interval", "0"], "poll_interval (or BELAYED_POLL_INTERVAL) is datetime.timedelta(0): it takes"),
        (["--grace", "3 weeks"], "'3 weeks' is no time: write seconds (90) or a unit"),
        (["--beat", "20s"], "lapse (or BELAYED_LAPSE)"),
        (["--log-level", "loud"], "'loud' is not one of"),
    ],
)
@pytest.mark.parametrize("command", ["work", "workoff"])
def test_wrong_settings_are_exit_code_2(run, command, wrong, error):
    result = run(command, *wrong)

    assert result.exit_code == 2
    assert error in " ".join(result.stderr.split())


def test_settings_come_from_the_environment(process, shop):
    ended = process("workoff", "--app", "shop", BELAYED_THREADS="3", BELAYED_QUEUES="mail")

    assert f"serves queues mail of sqlite:///{shop.parent / 'shop.db'}" in ended.stderr
    assert "with 3 threads" in ended.stderr


@pytest.mark.dj(311, 329)
@pytest.mark.parametrize(
    ("variables", "served"),
    [
        ({"QUEUE": "mail"}, "queues mail"),
        ({"QUEUES": "mail, slow", "QUEUE": "other"}, "queues mail, slow"),
        ({"QUEUES": "", "QUEUE": "mail"}, "queues mail"),
        ({"QUEUE": ""}, "all queues"),
        ({"QUEUES": "mail", "BELAYED_QUEUES": "own"}, "queues own"),
    ],
)
def test_the_variables_of_delayed_job_name_the_queues(process, shop, monkeypatch, variables, served):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    ended = process("workoff", "--app", "shop")

    assert f"serves {served} of " in ended.stderr


def test_an_option_wins_over_the_variables_of_delayed_job(process, shop, monkeypatch):
    monkeypatch.setenv("QUEUES", "mail")

    ended = process("workoff", "--app", "shop", "--queue", "slow", "--queue", "!more")

    assert "serves queues slow, !more of " in ended.stderr


@pytest.mark.dj(125, 328)
def test_the_variables_of_delayed_job_set_priorities_pauses_and_the_read_ahead(process, enqueue, monkeypatch):
    enqueue("send.using(priority=5).enqueue('ada'); send.using(priority=1).enqueue('bob')")
    for name, value in {"MIN_PRIORITY": "2", "MAX_PRIORITY": "9", "SLEEP_DELAY": "3", "READ_AHEAD": "7"}.items():
        monkeypatch.setenv(name, value)

    ended = process("workoff", "--app", "shop")

    assert re.search("no job is ready after .+: 1 succeeded$", ended.stderr.rstrip())
    assert "shop.send #1 succeeded" in ended.stderr


@pytest.mark.dj(331)
def test_the_variables_of_delayed_job_count_as_settings():
    variables = {"MIN_PRIORITY": "-2", "MAX_PRIORITY": "9", "SLEEP_DELAY": "3", "READ_AHEAD": "7"}

    found = settings(WorkerConfig, {}, variables, also=OF_DELAYED_JOB)

    assert (found.min_priority, found.max_priority, found.read_ahead) == (-2, 9, 7)
    assert found.poll_interval == timedelta(seconds=3)


@pytest.mark.parametrize("name", ["MIN_PRIORITY", "MAX_PRIORITY", "SLEEP_DELAY", "READ_AHEAD"])
def test_a_variable_of_delayed_job_that_is_no_number_is_named(process, shop, monkeypatch, name):
    monkeypatch.setenv(name, "many")

    ended = process("workoff", "--app", "shop")

    assert ended.returncode == 2
    assert f"{name}='many'" in ended.stderr


@pytest.mark.dj(154, 330)
@pytest.mark.parametrize(("variables", "options"), [({}, ["--quiet"]), ({"QUIET": "1"}, [])])
def test_a_quiet_worker_logs_only_what_is_wrong(process, enqueue, monkeypatch, variables, options):
    enqueue("send.enqueue('ada'); send.enqueue('nobody')")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    ended = process("workoff", "--app", "shop", *options)

    assert ended.returncode == 0
    assert "INFO" not in ended.stderr
    assert "shop.send #2 FAILED permanently" in ended.stderr


@pytest.mark.dj(148, 314, 346)
def test_a_worker_told_to_exit_on_complete_does(process, enqueue):
    enqueue("send.enqueue('ada')")

    ended = process("work", "--app", "shop", "--exit-on-complete")

    assert ended.returncode == 0
    assert "shop.send #1 succeeded" in ended.stderr


@pytest.mark.parametrize("processes", [0, 1])
def test_a_log_for_programs_has_an_object_on_each_line(process, enqueue, processes):
    enqueue("send.enqueue('ada'); send.enqueue('nobody')")

    ended = process("workoff", "--app", "shop", "--log-format", "json", "--processes", processes)

    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert {tuple(line)[:4] for line in lines} == {("time", "level", "logger", "message")}
    good = next(line for line in lines if line.get("outcome") == "succeeded")
    assert (good["job_id"], good["task"], good["queue"], good["attempt"]) == (1, "shop.send", "mail", 1)
    assert good["level"] == "INFO"
    assert good["seconds"] >= 0
    bad = next(line for line in lines if line.get("outcome") == "failed")
    assert (bad["job_id"], bad["level"]) == (2, "ERROR")
    assert bad["message"].endswith("ValueError: no such address")
    assert bad["error_type"] == "ValueError"
    assert bad["error"].startswith("Traceback")
    assert bad["error"].endswith("ValueError: no such address")
    assert "2 failed" not in lines[-1]["message"]
    assert "1 succeeded, 1 failed" in lines[-1]["message"]


@pytest.mark.dj(306)
@pytest.mark.parametrize("processes", [0, 1])
def test_a_log_file_gets_all_lines_and_is_appended_to(process, enqueue, folder, processes):
    enqueue("send.enqueue('ada')")
    (folder / "work.log").write_text("before\n")

    ended = process("workoff", "--app", "shop", "--log-file", "work.log", "--processes", processes)

    lines = (folder / "work.log").read_text().splitlines()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert lines[0] == "before"
    assert any("shop.send #1 succeeded" in line for line in lines)
    assert "no job is ready after" in lines[-1]


@pytest.mark.dj(237)
@pytest.mark.parametrize("processes", [0, 1])
def test_a_log_file_counts_though_the_application_has_set_up_logging(process, enqueue, shop, folder, processes):
    shop.write_text("import logging; logging.basicConfig(level='ERROR')\n" + shop.read_text())
    enqueue("send.enqueue('ada')")

    ended = process("workoff", "--app", "shop", "--log-file", "work.log", "--processes", processes)

    assert ended.returncode == 0
    assert "1 succeeded" in (folder / "work.log").read_text()


@pytest.mark.dj(187)
@pytest.mark.parametrize("processes", ["0", "1"])
def test_a_log_file_that_is_moved_away_is_opened_anew(enqueue, folder, processes):
    log = folder / "work.log"
    enqueue("send.enqueue('ada')")
    with working("--app", "shop", "--log-file", str(log), "--processes", processes) as worker:
        eventually(lambda: log.exists() and "#1 succeeded" in log.read_text())
        log.rename(folder / "work.log.1")
        # Whether it is still there is looked at once a second.
        begun = time.monotonic()
        eventually(lambda: time.monotonic() - begun > 1.1)

        enqueue("send.enqueue('bob')")

        eventually(lambda: log.exists() and "#2 succeeded" in log.read_text())
        worker.terminate()
        worker.communicate(timeout=patient(60))
    assert "#2" not in (folder / "work.log.1").read_text()
    assert "stopped after" in log.read_text()


@pytest.mark.dj(306)
@pytest.mark.parametrize("processes", [0, 1])
def test_a_log_file_that_cannot_be_written_is_named(process, shop, processes):
    ended = process("workoff", "--app", "shop", "--log-file", "nowhere/work.log", "--processes", processes)

    assert ended.returncode == 2
    assert "the log file nowhere/work.log cannot be written: No such file or directory" in ended.stderr


@pytest.mark.dj(290, 305, 320, 356)
def test_a_pid_file_is_there_while_the_worker_is(process, enqueue, folder):
    file = folder / "work.pid"
    # One that a dead worker has left.
    file.write_text("999999\n")
    with working("--app", "shop", "--pid-file", str(file)) as worker:
        eventually(lambda: file.read_text() == f"{worker.pid}\n")

        second = process("work", "--app", "shop", "--pid-file", file)

        assert second.returncode == 1
        assert f"has the PID file {file} already: process {worker.pid}; stop it, or name another" in second.stderr
        assert file.exists()
        worker.terminate()
        worker.communicate(timeout=patient(60))
        assert worker.returncode == 0
    assert not file.exists()


@pytest.mark.dj(320)
def test_a_pid_file_of_a_killed_worker_is_in_nobodys_way(process, enqueue, folder):
    file = folder / "work.pid"
    with working("--app", "shop", "--pid-file", str(file)) as worker:
        eventually(lambda: file.exists() and file.read_text() == f"{worker.pid}\n")
        worker.kill()
        worker.communicate(timeout=patient(60))
    assert file.exists()

    ended = process("workoff", "--app", "shop", "--pid-file", file)

    assert ended.returncode == 0
    assert not file.exists()


def test_a_pid_file_that_cannot_be_written_is_named(process, shop):
    ended = process("workoff", "--app", "shop", "--pid-file", "nowhere/work.pid")

    assert ended.returncode == 2
    assert "the PID file nowhere/work.pid cannot be written: No such file or directory" in ended.stderr


@pytest.mark.dj(312, 332, 351)
def test_pools_serve_their_queues_by_processes_of_their_own(process, enqueue, told, folder):
    enqueue("send.enqueue('ada'); flaky.enqueue()")
    with working("--app", "shop", "--pool", "mail:2", "--pool", "*, !mail:1", "--name", "w") as worker:
        lines = read_until(worker, "serves queues *, !mail")
        children = ["ps", "--ppid", str(worker.pid), "-o", "pid="]
        eventually(lambda: len(subprocess.run(children, check=True, capture_output=True).stdout.split()) == 3)
        status = json.loads(process("status", "--app", "shop", "--json").stdout)
        enqueue(f"assert send.enqueue('bob').wait(timeout={patient(20)}).result == 'sent to bob'")
        worker.terminate()
        rest = worker.communicate(timeout=patient(60))[1]

    assert worker.returncode == 0
    text = "".join(lines) + rest
    assert "serves queues mail of" in text
    assert "with 2 processes of 5 threads" in text
    assert {row["name"] for row in status["workers"]} == {"w/1", "w/2"}
    assert re.search(r"stopped after .+: 2 succeeded, 1 to be tried again", text)


@pytest.mark.dj(231, 303)
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--pool", "mail:none"], "--pool 'mail:none': after the colon write how many processes, such as mail:2, or"),
        (["--pool", "mail:0"], "--pool 'mail:0': there must be 1 process or more"),
        (["--pool", "mail:"], "--pool 'mail:': after the colon"),
        (["--pool", "mail:1x"], "--pool 'mail:1x': after the colon"),
        (["--pool", "mail:x2"], "--pool 'mail:x2': after the colon"),
        (["--pool", "mail:1x2x3"], "--pool 'mail:1x2x3': after the colon"),
        (["--pool", "mail:-1x2"], "--pool 'mail:-1x2': after the colon"),
        (["--pool", "mail:²x1"], "--pool 'mail:²x1': after the colon"),
        (["--pool", "mail:2x0"], "--pool 'mail:2x0': there must be 1 job at once or more"),
        (["--pool", "mail:1x2", "--pool", "x:0x1"], "--pool 'x:0x1': there must be 1 process or more"),
        (["--pool", "mail:1x1000000"], "--pool 'mail:1x1000000': at most 10,000"),
        (["--pool", "mail", "-q", "x"], "give --pool, or --queue and --processes"),
        (["--pool", "mail", "-p", "2"], "give --pool, or --queue and --processes"),
        (["--processes", "0", "--reload"], "--reload replaces child processes"),
    ],
)
def test_wrong_pools_are_refused(process, shop, options, complaint):
    ended = process("work", "--app", "shop", *options)

    assert ended.returncode == 2
    assert complaint in ended.stderr


def test_a_pool_says_how_many_jobs_run_at_once(process, enqueue):
    enqueue("send.enqueue('ada')")

    ended = process("workoff", "--app", "shop", "--pool", "mail:1x1", "--pool", "*, !mail : 2 x 4", "--threads", "7")

    assert ended.returncode == 0, ended.stderr
    assert re.search(r"serves queues mail of .* with 1 process, 1 job at once$", ended.stderr, re.MULTILINE)
    assert re.search(
        r"serves queues \*, !mail of .* with 2 processes, 4 jobs at once in each$", ended.stderr, re.MULTILINE
    )


def test_pools_have_names_of_their_own(process, shop):
    with working("--app", "shop", "--pool", "mail", "--pool", "*, !mail") as worker:
        read_until(worker, "serves queues")
        read_until(worker, "serves queues")
        rows = json.loads(process("status", "--app", "shop", "--json").stdout)["workers"]

    assert {row["name"] for row in rows} == {f"{socket.gethostname()}:{worker.pid}/{number}" for number in (1, 2)}


def test_pools_may_come_from_the_environment(process, enqueue):
    enqueue("send.enqueue('ada')")

    ended = process("workoff", "--app", "shop", BELAYED_POOLS="mail:1x1 *,!mail:1")

    assert "serves queues mail of" in ended.stderr
    assert "with 1 process, 1 job at once" in ended.stderr
    assert "serves queues *, !mail of" in ended.stderr


@pytest.mark.parametrize("given", [["-q", "mail"], ["-p", "1"], ["--pool", "mail"]])
def test_options_count_more_than_pools_of_the_environment(process, enqueue, given):
    enqueue("send.enqueue('ada')")

    ended = process("workoff", "--app", "shop", *given, BELAYED_POOLS="other:1x1")

    assert ended.returncode == 0, ended.stderr
    assert "serves queues other" not in ended.stderr
    assert "1 succeeded" in ended.stderr


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"BELAYED_POOLS": "mail:2x"}, "BELAYED_POOLS 'mail:2x': after the colon"),
        ({"BELAYED_POOLS": "mail", "BELAYED_QUEUES": "x"}, "BELAYED_POOLS and BELAYED_QUEUES are both set"),
        ({"BELAYED_POOLS": "mail", "BELAYED_PROCESSES": "2"}, "BELAYED_POOLS and BELAYED_PROCESSES are both set"),
        ({"BELAYED_POOL": "mail"}, "did you mean BELAYED_POOLS?"),
    ],
)
def test_wrong_pools_of_the_environment_are_refused(process, shop, variables, complaint):
    ended = process("work", "--app", "shop", **variables)

    assert ended.returncode == 2
    assert complaint in ended.stderr


def test_pools_of_an_application_that_cannot_be_imported_end_with_the_error(process, folder):
    (folder / "broken.py").write_text("1 / 0\n")

    ended = process("work", "--app", "broken", "--pool", "a", "--pool", "b")

    assert ended.returncode == 2
    assert ended.stderr.count("ZeroDivisionError") == 1


def test_workoff_ends_when_all_pools_are_empty(process, enqueue):
    enqueue("send.enqueue('ada'); flaky.using(max_attempts=1).enqueue()")

    ended = process("workoff", "--app", "shop", "--pool", "mail", "--pool", "default")

    assert ended.returncode == 0
    assert re.search(r"no job is ready after .+: 1 succeeded, 1 failed$", ended.stderr.splitlines()[-1])


@pytest.mark.parametrize("processes", [0, 1])
def test_an_application_that_has_set_up_our_logger_alone_gets_each_line_once(process, enqueue, shop, processes):
    setup = (
        "import logging; log = logging.getLogger('belayed'); log.setLevel('INFO'); "
        "log.addHandler(logging.StreamHandler())\n"
    )
    shop.write_text(setup + shop.read_text())
    enqueue("send.enqueue('ada')")

    ended = process("workoff", "--app", "shop", "--processes", processes)

    assert ended.stderr.count("shop.send #1 succeeded") == 1
