"""`start`, `stop`, `restart` and `status --local`: a worker in the background of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from belayed.cli.pidfile import holder
from belayed.worker import title
from tests.patience import patient
from tests.worker.helpers import eventually


@pytest.fixture(autouse=True)
def nothing_stays(folder):
    """No worker that a test has started survives it."""
    yield
    for file in folder.rglob("*.pid"):
        if (pid := holder(file)) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


def running(file: Path) -> bool:
    return holder(file) is not None


@pytest.mark.dj(288, 289, 294, 320)
def test_a_worker_is_started_found_and_stopped(process, enqueue, folder):
    file = folder / "belayed.pid"

    begun = process("start", "--app", "shop")
    there = process("status", "--local")
    enqueue(f"print(send.enqueue('ada').wait(timeout={patient(20)}).result)")
    ended = process("stop")
    gone = process("status", "--local")

    pid = re.search(r"process (\d+)", begun.stdout)[1]
    assert begun.returncode == 0
    assert " made sqlite:" in begun.stderr
    assert len(begun.stderr.splitlines()) == 1
    assert f"Started: process {pid}. Its log is {folder}/belayed.log, its PID file {file}." in begun.stdout
    assert (there.returncode, there.stdout) == (0, f"Running: process {pid} has {file}.\n")
    assert (ended.returncode, ended.stdout) == (0, f"Stopped: process {pid} has ended.\n")
    assert (gone.returncode, gone.stdout) == (3, f"No worker is running ({file} is not locked).\n")
    assert "shop.send #1 succeeded" in (folder / "belayed.log").read_text()
    assert not file.exists()


@pytest.mark.dj(290, 304)
def test_a_second_start_is_refused(process, shop, folder):
    process("start", "--app", "shop")

    second = process("start", "--app", "shop")

    pid = holder(folder / "belayed.pid")
    assert second.returncode == 1
    assert (
        f"a worker runs already: process {pid} has {folder}/belayed.pid; `belayed --app shop stop` ends it"
        in second.stderr
    )


@pytest.mark.dj(313)
def test_a_stop_ends_all_pools_of_a_worker(process, shop, folder):
    process("start", "--app", "shop", "--pool", "mail:2", "--pool", "*:1")
    there = json.loads(process("status", "--app", "shop", "--json").stdout)["workers"]

    ended = process("stop")

    gone = json.loads(process("status", "--app", "shop", "--json").stdout)["workers"]
    assert (len(there), ended.returncode, gone) == (2, 0, [])
    assert not running(folder / "belayed.pid")


@pytest.mark.dj(292)
def test_a_stop_with_nothing_to_stop_says_so_and_is_fine(process, folder):
    ended = process("stop")

    assert (ended.returncode, ended.stdout) == (0, f"No worker is running ({folder}/belayed.pid is not locked).\n")


@pytest.mark.dj(291)
def test_a_stop_waits_for_running_jobs(process, enqueue, folder, shop):
    shop.write_text(shop.read_text() + NAP)
    process("start", "--app", "shop")
    enqueue("nap.enqueue()")
    eventually((folder / "napping").exists, within=20)

    with ThreadPoolExecutor() as threads:
        # A stop that has been asked for already is waited for: a second one does not hurry it.
        asked = [threads.submit(process, "stop"), threads.submit(process, "stop")]
        eventually(lambda: "stopping" in (folder / "belayed.log").read_text(), within=20)
        (folder / "wake").touch()

    assert [one.result().returncode for one in asked] == [0, 0]
    assert "shop.nap #1 succeeded" in (folder / "belayed.log").read_text()


@pytest.mark.dj(291)
def test_a_stop_that_is_out_of_patience_kills_nothing_and_one_of_now_ends_it(process, enqueue, folder, shop):
    shop.write_text(shop.read_text() + NAP)
    process("start", "--app", "shop")
    enqueue("nap.enqueue()")
    eventually((folder / "napping").exists, within=20)

    first, again = process("stop", "--wait", "100ms"), process("stop", "--wait", "100ms")
    there = running(folder / "belayed.pid")
    ended = process("stop", "--now")

    assert (first.returncode, again.returncode, there) == (1, 1, True)
    assert "was asked to end, but still runs jobs: wait, or stop them by `belayed stop --now`" in first.stderr
    assert ended.returncode == 0
    enqueue("assert jobs.get(1).state == 'ready', jobs.get(1)")


NAP = """
@task
def nap():
    import pathlib, time
    pathlib.Path("napping").touch()
    while not pathlib.Path("wake").exists():
        time.sleep(0.01)
"""


@pytest.mark.dj(319)
def test_a_worker_that_cannot_start_is_told_with_what_it_logged(process, folder):
    ended = process("start", "--app", "nowhere")

    assert ended.returncode == 2
    assert f"the worker ended with exit code 2; {folder}/belayed.log says:" in ended.stderr
    assert "there is no module nowhere" in ended.stderr
    assert not running(folder / "belayed.pid")


def test_a_worker_that_cannot_start_or_log_is_told_with_where_to_look(process, folder):
    (folder / "wrong.py").write_text("raise RuntimeError('no')\n")

    ended = process("start", "--app", "wrong", "--log-file", "/dev/null")

    assert ended.returncode == 2
    assert "the worker ended with exit code 2; it wrote nothing to /dev/null that can be read here" in ended.stderr
    assert "`belayed --app wrong work` shows why" in ended.stderr


def test_a_worker_that_takes_too_long_to_start_is_stopped(process, folder):
    (folder / "sleepy.py").write_text("import threading\nthreading.Event().wait()\n")

    ended = process("start", "--app", "sleepy", "--wait=300ms")

    assert ended.returncode == 1
    assert "the worker was not ready within" in ended.stderr
    eventually(lambda: not running(folder / "belayed.pid"), within=20)


def test_only_the_log_of_this_start_is_shown(process, folder):
    (folder / "belayed.log").write_text("of yesterday\n")

    ended = process("start", "--app", "nowhere")

    assert "of yesterday" not in ended.stderr


@pytest.mark.dj(293, 358)
def test_a_restart_ends_the_one_and_starts_another(process, shop, folder):
    process("start", "--app", "shop")
    first = holder(folder / "belayed.pid")

    ended = process("restart", "--app", "shop", "--threads", "2")

    second = holder(folder / "belayed.pid")
    assert ended.returncode == 0
    assert f"Stopped: process {first} has ended." in ended.stdout
    assert f"Started: process {second}." in ended.stdout
    assert second not in (None, first)
    assert "with 2 threads" in (folder / "belayed.log").read_text()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--threads", "none"], "'none' is not a valid integer"),
        (["--pool", "mail", "-q", "x"], "give --pool, or --queue and --processes"),
        (["--app", "shopp"], "shopp"),
        (["--app", "shop:nothing"], "nothing"),
        (["--url", "postgresql://nobody@127.0.0.1:1/none"], "cannot connect to PostgreSQL"),
        (["--url", "sqlite:////nowhere/b.db"], "nowhere"),
        (["--url", "nonsense://x"], "nonsense"),
        (["--log-file", "."], "is a directory"),
        (["--health", "nowhere:x"], "health"),
    ],
)
def test_a_restart_that_would_fail_leaves_the_worker_alone(process, shop, folder, options, complaint):
    process("start", "--app", "shop")
    pid = holder(folder / "belayed.pid")

    ended = process("restart", "--app", "shop", *options)

    assert ended.returncode in (2, 3)
    assert complaint in ended.stderr
    assert holder(folder / "belayed.pid") == pid


def test_a_restart_without_tables_leaves_the_worker_alone(process, shop, folder, postgres_url):
    process("start", "--app", "shop")

    ended = process("restart", "--app", "shop", "--url", postgres_url)

    assert ended.returncode == 2
    assert "migrate" in ended.stderr
    assert running(folder / "belayed.pid")


def test_a_log_that_cannot_be_written_is_named(process, shop, folder):
    (folder / "belayed.log").mkdir()

    ended = process("start", "--app", "shop")

    assert ended.returncode == 2
    assert f"the log file {folder}/belayed.log cannot be written: it is a directory" in ended.stderr
    assert not running(folder / "belayed.pid")


def test_a_folder_for_temporary_files_of_a_long_name_is_no_obstacle(process, shop, folder):
    deep = folder / ("long" * 30)
    deep.mkdir()

    assert process("start", "--app", "shop", TMPDIR=str(deep)).returncode == 0


@pytest.mark.dj(293)
def test_a_restart_without_a_worker_starts_one(process, shop, folder):
    ended = process("restart", "--app", "shop")

    assert ended.returncode == 0
    assert f"No worker is running ({folder}/belayed.pid is not locked). Starting one." in ended.stdout
    assert running(folder / "belayed.pid")


@pytest.mark.dj(138, 307, 318)
def test_an_identifier_tells_workers_of_a_machine_apart(process, shop, folder):
    for name in ("a", "b"):
        assert process("start", "--app", "shop", "--identifier", name).returncode == 0

    found = process("status", "--app", "shop")
    ended = process("stop", "-i", "a")

    assert re.search(r"^a .*alive$", found.stdout, re.MULTILINE)
    assert re.search(r"^b .*alive$", found.stdout, re.MULTILINE)
    assert ended.returncode == 0
    assert not running(folder / "belayed.a.pid")
    assert running(folder / "belayed.b.pid")
    assert (folder / "belayed.a.log").exists()


def test_an_identifier_that_is_no_word_is_refused(process):
    ended = process("start", "--identifier", "../up")

    assert ended.returncode == 2
    assert "no slashes, colons or control characters" in ended.stderr


@pytest.mark.dj(305, 306)
def test_files_go_where_they_are_told_to(process, shop, folder):
    begun = process("start", "--app", "shop", "--pid-file", "run/work.pid", "--log-file", "log/work.log")
    ended = process("stop", "--pid-file", "run/work.pid")

    assert (begun.returncode, ended.returncode) == (0, 0)
    assert "serves all queues" in (folder / "log/work.log").read_text()


def test_a_worker_killed_by_force_is_not_taken_for_running(process, shop, folder):
    process("start", "--app", "shop")
    pid = holder(folder / "belayed.pid")

    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not running(folder / "belayed.pid"))

    assert process("status", "--local").returncode == 3
    assert process("start", "--app", "shop").returncode == 0


def test_the_url_of_the_group_reaches_the_worker(process, folder):
    begun = process("--url", "sqlite:///other.db", "start")

    assert begun.returncode == 0
    eventually((folder / "other.db").exists)
    assert process("stop").returncode == 0


def test_a_worker_that_ends_by_itself_is_fine(process, enqueue, folder):
    enqueue("send.enqueue('ada')")

    begun = process("start", "--app", "shop", "--exit-on-complete")

    assert begun.returncode == 0
    eventually(lambda: "stopped after" in (folder / "belayed.log").read_text())
    assert "shop.send #1 succeeded" in (folder / "belayed.log").read_text()


def test_the_local_status_for_programs(process, folder):
    found = process("status", "--local", "--json")

    assert found.returncode == 3
    assert f'"pid_file": "{folder}/belayed.pid"' in found.stdout
    assert '"running": false' in found.stdout


@pytest.mark.dj(310)
def test_a_prefix_is_in_the_titles_of_processes(process, shop, folder):
    process("start", "--app", "shop", "--prefix", "shop", "--identifier", "7")
    pid = holder(folder / "belayed.7.pid")

    def titles() -> list[str]:
        listed = ["ps", "--pid", str(pid), "--ppid", str(pid), "-o", "args="]
        return sorted(subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\n"))

    eventually(lambda: titles() == ["", "shop/belayed.7", "shop/belayed.7 child"])


def test_a_prefix_without_its_library_says_what_to_install(run, monkeypatch):
    monkeypatch.setattr(title, "find_spec", lambda name: None)

    ended = run("work", "--app", "", "--prefix", "x", "--processes", "0")

    assert ended.exit_code == 2
    assert "pip install 'belayed[titles]'" in ended.stderr
