"""PID files: what another user has put at their path stays as it is, and only the worker of a file is signalled."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from belayed.cli.pidfile import PLACE, holder, pid_file
from belayed.errors import ConfigError
from tests.patience import patient
from tests.worker.helpers import eventually

OTHER = 12345
"""A user that is not us."""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "work.pid"


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that nobody should end."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as popen:
        yield popen
        popen.kill()


@pytest.fixture
def holding() -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """Starts a process that keeps a PID file until it is told to stop."""
    begun = []

    def holding(path: Path) -> subprocess.Popen[str]:
        program = (
            "import sys, time, pathlib\nfrom belayed.cli.pidfile import pid_file\n"
            "with pid_file(pathlib.Path(sys.argv[1])):\n    print('ready', flush=True); time.sleep(600)"
        )
        popen = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
        begun.append(popen)
        assert popen.stdout is not None
        assert popen.stdout.readline() == "ready\n"
        return popen

    yield holding
    for popen in begun:
        popen.kill()
        popen.communicate()


def a_link(path: Path) -> Path:
    path.symlink_to(path.with_name("target"))
    return path.with_name("target")


def a_link_to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("nothing"))


def a_hard_link(path: Path) -> Path:
    path.with_name("target").write_text("1\n")
    os.link(path.with_name("target"), path)
    return path.with_name("target")


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def a_file_of_somebody(path: Path) -> Path:
    path.write_text("my notes\n1\n")
    return path


def a_long_file(path: Path) -> Path:
    path.write_text("1\n" + "asked 1\n" * 100_000)
    return path


def a_file_for_everybody(path: Path) -> Path:
    path.write_text("1\n")
    path.chmod(0o666)
    return path


WRONG = [
    (a_link, "a symbolic link"),
    (a_link_to_nothing, "a symbolic link"),
    (a_hard_link, "other names (hard links)"),
    (a_pipe, "a pipe"),
    (a_socket, "a socket"),
    (a_file_of_somebody, "it has other contents"),
    (a_long_file, "it has other contents"),
    (a_file_for_everybody, "everybody may write it"),
]


@pytest.mark.parametrize(("make", "why"), WRONG, ids=lambda one: getattr(one, "__name__", ""))
def test_what_is_no_pid_file_is_refused_and_stays_as_it_is(path, make, why):
    target = make(path)
    if target is not None and not target.exists():
        target.write_text("precious")
    before = (target and target.read_bytes(), os.lstat(path).st_mode)

    with pytest.raises(ConfigError) as caught, pid_file(path):
        raise AssertionError("it was taken")

    assert why in str(caught.value)
    assert (target and target.read_bytes(), os.lstat(path).st_mode) == before
    assert not path.with_name("nothing").exists()


def test_a_folder_in_which_everybody_may_replace_it_is_refused(path):
    path.parent.chmod(0o777)

    with pytest.raises(ConfigError, match="everybody may replace files in"), pid_file(path):
        pass

    assert not path.exists()


@as_root
def test_what_another_user_has_put_where_everybody_may_write_is_refused(path):
    path.parent.chmod(0o1777)
    folder = path.with_name("folder")
    folder.mkdir()
    path.write_text("1\n")
    for one in (path, folder):
        os.chown(one, OTHER, OTHER)

    for one in (path, folder / "work.pid"):
        with pytest.raises(ConfigError, match="another user"), pid_file(one):
            pass

    assert path.read_text() == "1\n"
    assert list(folder.iterdir()) == []


def test_it_is_for_its_user_alone_and_gone_at_the_end(path):
    with pid_file(path):
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.read_text() == f"{os.getpid()}\n"

    assert not path.exists()


def test_what_has_taken_its_place_is_not_removed(path):
    with pid_file(path):
        path.unlink()
        path.write_text("precious")

    assert path.read_text() == "precious"


@pytest.mark.parametrize("number", ["1", "0", "", "99999999", "4294967297", "self", "parent", "other"])
def test_a_number_alone_is_nobody(path, run, bystander, number):
    pids = {"self": os.getpid(), "parent": os.getppid(), "other": bystander.pid}
    path.write_text(f"{pids.get(number, number)}\n")

    ended, there = run("stop", "--pid-file", path), run("status", "--local", "--pid-file", path)

    assert (ended.exit_code, there.exit_code) == (0, 3)
    assert "No worker is running" in ended.output
    assert bystander.poll() is None


@pytest.mark.parametrize("text", ["-1\n", "12 34\n", "kill\n", "1\nasked\n", "\x00", "9" * 100])
def test_what_is_no_number_is_refused(path, run, text):
    path.write_text(text)

    ended = run("stop", "--pid-file", path)

    assert ended.exit_code == 2
    assert "is not a PID file" in ended.stderr


@pytest.mark.parametrize("kind", ["flock", "lockf"])
def test_the_lock_of_another_program_makes_nobody_a_worker(path, run, bystander, kind):
    path.write_text(f"{bystander.pid}\n")
    program = f"import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.{kind}(f, 2); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdin=-1, stdout=-1) as other:
        other.stdout.readline()
        try:
            ended, again = run("stop", "--pid-file", path), run("restart", "--pid-file", path, "--app", "nowhere")

            assert (
                "one of another program" in ended.stderr if kind == "lockf" else "No worker is running" in ended.output
            )
            assert again.exit_code == 2
            assert (other.poll(), bystander.poll()) == (None, None)
        finally:
            other.kill()


def test_the_worker_is_known_by_its_lock_whatever_is_written(path, run, holding, bystander):
    worker = holding(path)
    path.write_text(f"{bystander.pid}\n")

    there, ended = run("status", "--local", "--pid-file", path), run("stop", "--pid-file", path)

    assert f"process {worker.pid} has" in there.output
    assert ended.exit_code == 0
    assert worker.wait(patient(10)) == -signal.SIGTERM
    assert bystander.poll() is None


def test_a_number_that_has_come_to_mean_another_process_is_not_signalled(path, run, holding, bystander):
    worker = holding(path)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    path.write_text(f"{bystander.pid}\n")

    ended = run("stop", "--pid-file", path, "--now")

    assert "No worker is running" in ended.output
    assert bystander.poll() is None


def test_a_worker_that_has_it_is_named_to_a_second_one(path, holding):
    worker = holding(path)

    with pytest.raises(click.ClickException, match=f"process {worker.pid};"), pid_file(path):
        pass

    assert holder(path) == worker.pid
    worker.terminate()
    eventually(lambda: holder(path) is None)
    with pid_file(path):
        pass


def test_a_file_that_others_could_read_is_closed_to_them_and_their_lock_for_reading_is_nobody(path):
    path.write_text("1\n")
    path.chmod(0o644)

    with pid_file(path):
        assert path.stat().st_mode & 0o777 == 0o600

    path.write_text("1\n")
    with path.open() as file:
        fcntl.lockf(file, fcntl.LOCK_SH, 1, PLACE)
        # A lock is no obstacle to its own process.
        program = (
            "import sys, pathlib\nfrom belayed.cli.pidfile import holder\nprint(holder(pathlib.Path(sys.argv[1])))"
        )
        found = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)

    assert "is one of another program" in found.stderr


def test_a_copy_of_the_process_leaves_the_file_alone(path):
    program = (
        "import os, sys, pathlib\nfrom belayed.cli.pidfile import pid_file\npath = pathlib.Path(sys.argv[1])\n"
        "with pid_file(path):\n    child = os.fork()\n    if child: os.waitpid(child, 0); print(path.exists())"
    )
    words = [sys.executable, "-c", program, str(path)]

    ended = subprocess.run(words, capture_output=True, text=True, check=True)

    assert ended.stdout == "True\n"
    assert not path.exists()


def test_of_many_that_begin_at_once_one_has_it(path):
    program = (
        "import sys, pathlib\nfrom belayed.cli.pidfile import pid_file\n"
        "try:\n    with pid_file(pathlib.Path(sys.argv[1])): print('has', flush=True); sys.stdin.read()\n"
        "except Exception as error: print(error.message, flush=True)"
    )
    words = [sys.executable, "-c", program, str(path)]
    many = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]

    said = [one.stdout.readline() for one in many]

    for one in many:
        one.communicate()
    assert said.count("has\n") == 1
    assert sum("already: process" in line for line in said) == 2


@pytest.mark.parametrize(("make", "why"), WRONG[:7], ids=lambda one: getattr(one, "__name__", ""))
def test_a_stop_says_what_is_wrong_and_changes_nothing(path, run, make, why):
    make(path)
    before = os.lstat(path).st_mode

    ended = run("stop", "--pid-file", path)

    assert ended.exit_code in (0, 2)
    assert os.lstat(path).st_mode == before
    assert why in ended.stderr


def test_the_log_and_the_process_id_are_not_put_into_one_file(run, path):
    ended = run("start", "--pid-file", path, "--log-file", path, "--app", "")

    assert ended.exit_code == 2
    assert "cannot be in one file" in ended.stderr
    assert not path.exists()
