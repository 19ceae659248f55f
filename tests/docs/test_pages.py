"""The examples in the documentation run as they stand there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    path
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if path.exists() and "_build" not in path.parts
]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_examples_of_a_page_run(page, run_page):
    run_page(page)


def test_the_blocks_of_a_page_share_their_names(run_page, written):
    page = written("```python\na = 1\n```\n\ntext\n\n```python\nb = a + 1\n```\n")

    module = run_page(page)

    assert module.b == 2


def test_what_a_block_defines_can_be_found_by_its_name(run_page, written):
    page = written("```python\ndef f(): ...\n```\n")

    module = run_page(page)

    assert getattr(sys.modules[module.f.__module__], module.f.__qualname__) is module.f


def test_a_block_that_names_a_file_becomes_that_file(run_page, written):
    page = written("```python\n# shop_app.py\ndef f(): ...\n```\n\n```python\nf()\n```\n")

    module = run_page(page)

    assert module.f.__module__ == "shop_app"
    assert Path("shop_app.py").read_text() == "# shop_app.py\ndef f(): ...\n"


def test_an_error_shows_the_line_of_the_page(run_page, written):
    page = written("# Title\n\n```python\nright = 1\nwrong = 1 / 0\n```\n")

    with pytest.raises(ZeroDivisionError) as caught:
        run_page(page)

    assert caught.traceback[-1].path == page
    assert caught.traceback[-1].lineno + 1 == 5


def test_a_skipped_block_does_not_run(run_page, written):
    page = written('<!-- skip: next "it needs a printer" -->\n\n```python\n1 / 0\n```\n\n```python\na = 1\n```\n')

    module = run_page(page)

    assert module.a == 1


def test_a_skip_without_a_reason_is_refused(run_page, written):
    page = written("<!-- skip: next -->\n\n```python\na = 1\n```\n")

    with pytest.raises(ValueError, match="skipped without a reason"):
        run_page(page)


def test_only_marked_commands_run(run_page, written):
    page = written("```bash\ntouch no\n```\n\n<!-- run -->\n```console\n$ echo hello > yes\nhello\n```\n")

    run_page(page)

    assert Path("yes").read_text() == "hello\n"
    assert not Path("no").exists()


def test_a_command_that_fails_fails_the_page(run_page, written):
    page = written("<!-- run -->\n```bash\necho because >&2; false\n```\n")

    with pytest.raises(AssertionError, match="because"):
        run_page(page)


@pytest.fixture
def written(tmp_path_factory):
    """A page with a given text."""

    def write(text: str) -> Path:
        path = tmp_path_factory.mktemp("pages") / "page.md"
        path.write_text(text)
        return path

    return write
