"""Log files and the files of `init`: they are written where the user wants them, not where another one leads."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from belayed.errors import ConfigError
from belayed.worker.output import LOOK_AGAIN, Output, Sink
from tests.patience import patient

OTHER = 12345
"""A user that is not us."""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder / "belayed.log"


@pytest.fixture
def shared(path: Path) -> Path:
    """The log's folder, in which everybody may write."""
    path.parent.chmod(0o1777)
    return path.parent


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        Sink(path)
    return str(caught.value)


def test_a_log_is_added_to_and_not_for_everybody_to_read(path):
    path.write_bytes(b"before\n")

    Sink(path).put(b"after\n")
    Sink(path.with_name("new.log")).put(b"new\n")

    assert path.read_bytes() == b"before\nafter\n"
    assert path.with_name("new.log").stat().st_mode & 0o007 == 0


def test_a_link_of_one_s_own_is_followed(path, tmp_path):
    path.symlink_to("other")
    path.with_name("other").symlink_to(tmp_path / "here.log")

    Sink(path).put(b"line\n")

    assert (tmp_path / "here.log").read_bytes() == b"line\n"


@as_root
@pytest.mark.parametrize("mode", [0o755, 0o777, 0o1777])
def test_a_link_of_another_user_is_not_followed(path, tmp_path, mode):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    path.symlink_to(victim)
    os.lchown(path, OTHER, OTHER)
    path.parent.chmod(mode)

    assert "another user" in refusal(path)
    assert victim.read_bytes() == b"precious"


@as_root
def test_a_folder_or_file_of_another_user_among_everybody_s_is_not_used(path, shared, tmp_path):
    (tmp_path / "mine").mkdir()
    (shared / "folder").mkdir()
    (shared / "link").symlink_to(tmp_path / "mine")
    path.write_bytes(b"theirs")
    for one in (shared / "folder", shared / "link", path):
        os.lchown(one, OTHER, OTHER)

    for one in (path, shared / "folder" / "a.log", shared / "link" / "a.log", shared / "folder" / ".." / "link" / "a"):
        assert "belongs to another user, and everybody may write in" in refusal(one)
    assert path.read_bytes() == b"theirs"
    assert list((tmp_path / "mine").iterdir()) == []


def test_what_is_no_file_is_named_and_nobody_waits_for_it(path):
    os.mkfifo(path)
    path.with_name("one").write_bytes(b"precious")
    os.link(path.with_name("one"), path.with_name("two"))
    path.with_name("loop").symlink_to("loop")

    assert "a pipe that nobody reads" in refusal(path)
    assert "a directory" in refusal(path.parent)
    assert "other names" in refusal(path.with_name("two"))
    assert "Too many levels" in refusal(path.with_name("loop"))
    assert path.with_name("one").read_bytes() == b"precious"


def test_a_pipe_that_is_read_is_a_log(path):
    os.mkfifo(path)
    found = []
    reader = threading.Thread(target=lambda: found.append(path.read_bytes()))
    reader.start()

    sink = None
    while sink is None:
        try:
            sink = Sink(path)
        except ConfigError:
            assert reader.is_alive()
    sink.put(b"line\n")
    os.close(sink.fd)
    reader.join(patient(10))

    assert found == [b"line\n"]


@pytest.mark.parametrize(("name", "processes"), [("/dev/stderr", 1), ("link", 0)])
def test_the_output_of_the_process_may_be_the_log(process, shop, folder, name, processes):
    (folder / "link").symlink_to("/dev/stdout")

    ended = process("workoff", "--app", "shop", "--log-file", name, "--processes", processes)

    assert ended.returncode == 0, ended.stderr
    assert "no job is ready" in ended.stdout + ended.stderr


@as_root
def test_a_log_that_was_replaced_by_a_link_of_another_user_goes_on_in_the_old_one(path, shared, tmp_path):
    sink = Sink(path)
    old = path.rename(path.with_name("old.log"))
    path.symlink_to(tmp_path / "victim")
    os.lchown(path, OTHER, OTHER)
    sink.looked_at -= 2 * LOOK_AGAIN

    output = Output(sink)
    output.write(b"line\n")
    output.close()

    assert old.read_bytes() == b"line\n"
    assert not (tmp_path / "victim").exists()


def test_a_log_that_was_moved_away_is_opened_again(path):
    sink = Sink(path)
    path.rename(path.with_name("old.log"))
    sink.looked_at -= 2 * LOOK_AGAIN

    sink.put(b"line\n")

    assert path.read_bytes() == b"line\n"


@pytest.mark.parametrize("options", [[], ["--force"]])
def test_init_writes_through_no_link(run, folder, options):
    (folder / "target").write_text("precious")
    (folder / "Procfile").symlink_to("target")
    (folder / "Dockerfile").symlink_to("nothing")
    os.link(folder / "target", folder / "belayed.service")

    ended = [run("init", kind, *options, "--app", "shop") for kind in ("procfile", "docker", "systemd")]

    assert [one.exit_code for one in ended] == ([2, 2, 2] if options else [1, 1, 1])
    assert (folder / "target").read_text() == "precious"
    assert not (folder / "nothing").exists()
    assert stat.S_ISLNK(os.lstat(folder / "Procfile").st_mode)


def test_init_with_force_writes_over_a_file(run, folder):
    (folder / "Procfile").write_text("x" * 10_000)

    ended = run("init", "procfile", "--force", "--app", "shop")

    assert ended.exit_code == 0
    assert "x" * 100 not in (folder / "Procfile").read_text()
