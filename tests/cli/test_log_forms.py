"""One form for all lines of a worker: its own, those of the processes that run jobs, and the application's."""

from __future__ import annotations

import json
import re

import pytest

from tests.cli.test_work import LINE

OURS = r"belayed .+ serves all queues|\d job(s)? processed at|no job is ready after"
"""What a supervisor logs."""
BESIDE = re.compile(r"SQLite .* has the WAL-reset bug|^use 3\.51")
LISTED = """
import logging.config
logging.config.dictConfig({
    "version": 1,
    "formatters": {"theirs": %r},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "theirs"}},
    "root": {"level": "WARNING", "handlers": ["console"]},
})
"""


def lines(ended):
    assert ended.returncode == 0, ended.stderr
    return [line for line in ended.stderr.splitlines() if not BESIDE.search(line)]


def configured(shop, text):
    """Have the application log a line of its own in each job, after it has set up logging."""
    code = shop.read_text().replace(
        "def send(to):\n", "def send(to):\n    logging.warning('a line of the application')\n"
    )
    assert "a line of the application" in code
    shop.write_text(f"import logging\n{text}\n{code}")


FORMS = {
    "percent": ("logging.basicConfig(format='mine %(levelname)s %(message)s', level='INFO')", r"mine [A-Z]+ \S"),
    "brace": ("logging.basicConfig(format='<{name}> {message}', style='{', level='INFO')", r"<(root|belayed)> \S"),
    "dollar": ("logging.basicConfig(format='$levelname: $message', style='$', level='INFO')", r"[A-Z]+: \S"),
    "no format": ("logging.basicConfig(level='INFO')", r"[A-Z]+:(root|belayed):\S"),
    "bare": (
        "logging.getLogger().addHandler(logging.StreamHandler())",
        r"(a line of|shop\.send #1|belayed|1 job|no job)",
    ),
    "dates": (
        "logging.basicConfig(format='%(asctime)s | %(message)s', datefmt='%Y/%m/%d', level='INFO')",
        r"\d{4}/\d\d/\d\d \| \S",
    ),
    "dictConfig": (LISTED % {"format": "%(levelname)-8s %(process)d %(message)s"}, r"[A-Z]+ +\d+ \S"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_supervisor_logs_in_the_form_of_the_application_if_it_is_told_it(process, enqueue, shop, form):
    text, pattern = FORMS[form]
    configured(shop, text)
    enqueue("send.enqueue('ada')")

    found = lines(process("workoff", "--app", "shop"))

    assert [line for line in found if not re.match(pattern, line)] == []
    assert sum(bool(re.search(OURS, line)) for line in found) == 3
    assert sum("shop.send #1 " in line for line in found) == 2
    assert sum("a line of the application" in line for line in found) == 1


OWN = {
    "a class of the application": """
class Own(logging.Formatter):
    pass
handler = logging.StreamHandler()
handler.setFormatter(Own('own %(message)s'))
logging.basicConfig(handlers=[handler], level='INFO')
""",
    "a field that a filter of the application puts in": """
handler = logging.StreamHandler()
handler.setFormatter(logging.Formatter('own %(request)s %(message)s'))
handler.addFilter(lambda record: setattr(record, 'request', 1) or True)
logging.basicConfig(handlers=[handler], level='INFO')
""",
}


@pytest.mark.parametrize("text", OWN.values(), ids=OWN)
def test_a_supervisor_that_cannot_log_as_the_application_does_logs_as_ever(process, enqueue, shop, text):
    configured(shop, text)
    enqueue("send.enqueue('ada')")

    found = lines(process("workoff", "--app", "shop"))

    own = [line for line in found if re.search(OURS, line)]
    assert len(own) == 3
    assert all(LINE.match(line) for line in own)
    assert all(line.startswith("own ") for line in found if line not in own)


@pytest.mark.parametrize("processes", [0, 1])
@pytest.mark.parametrize("logger", ["", "belayed"])
def test_a_handler_that_shows_nothing_is_none(process, enqueue, shop, logger, processes):
    configured(shop, f"logging.getLogger({logger!r}).addHandler(logging.NullHandler())")
    enqueue("send.enqueue('nobody')")

    found = lines(process("workoff", "--app", "shop", "--processes", processes))

    assert sum("shop.send #1 FAILED permanently" in line for line in found) == 1
    assert sum("a line of the application" in line for line in found) == 1
    assert all(LINE.match(line) for line in found if not line.startswith("    "))


@pytest.mark.parametrize("processes", [0, 1])
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_form_that_is_asked_for_is_that_of_all_lines(process, enqueue, shop, form, processes):
    text, _ = FORMS["dictConfig"]
    configured(shop, text)
    enqueue("send.enqueue('ada'); send.enqueue('nobody')")

    found = lines(process("workoff", "--app", "shop", "--log-format", form, "--processes", processes))

    if form == "json":
        messages = [json.loads(line)["message"] for line in found if "WAL-reset" not in line]
    else:
        messages = found
        assert all(LINE.match(line) or line.startswith("    ") for line in found)
    assert sum("a line of the application" in line for line in messages) == 2
    assert sum("shop.send #" in line for line in messages) == 4
    assert sum(bool(re.search(OURS, line)) for line in messages) == 3


@pytest.mark.parametrize("processes", [0, 1])
def test_lines_about_jobs_are_shown_though_the_root_logger_shows_warnings_only(process, enqueue, shop, processes):
    configured(shop, "logging.basicConfig()")
    enqueue("send.enqueue('ada')")

    found = lines(process("workoff", "--app", "shop", "--processes", processes))

    assert sum("shop.send #1 " in line for line in found) == 2
    assert any("no job is ready after" in line for line in found)


@pytest.mark.parametrize("processes", [0, 1])
def test_a_level_that_the_application_has_chosen_for_belayed_counts_for_all_lines(process, enqueue, shop, processes):
    configured(shop, "logging.basicConfig(level='INFO'); logging.getLogger('belayed').setLevel('ERROR')")
    enqueue("send.enqueue('ada'); send.enqueue('nobody')")

    found = lines(process("workoff", "--app", "shop", "--processes", processes))

    assert any("shop.send #2 FAILED permanently" in line for line in found)
    assert [line for line in found if re.search(OURS, line) or "#1 " in line] == []


@pytest.mark.parametrize("processes", [0, 1])
def test_a_level_that_is_asked_for_counts_more_than_the_applications(process, enqueue, shop, processes):
    configured(shop, "logging.basicConfig(level='INFO'); logging.getLogger('belayed').setLevel('ERROR')")
    enqueue("send.enqueue('ada')")

    found = lines(process("workoff", "--app", "shop", "--log-level", "info", "--processes", processes))

    assert sum("shop.send #1 " in line for line in found) == 2
    assert any("no job is ready after" in line for line in found)


def test_a_form_of_the_application_lets_no_text_steer_the_terminal(process, enqueue, shop):
    configured(shop, "logging.basicConfig(format='\\x1b[31m%(message)s', level='INFO')")
    enqueue("send.enqueue('ada')")

    found = lines(process("workoff", "--app", "shop"))

    own = [line for line in found if re.search(OURS, line)]
    assert own
    assert "\x1b" not in "".join(own)
