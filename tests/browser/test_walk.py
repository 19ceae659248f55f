"""What somebody sees who follows the tutorial, in the browser and in the terminals."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.conftest import Visitor
from tests.browser.site import Site, Terminal
from tests.worker.helpers import eventually

pytestmark = pytest.mark.deep

Visits = Callable[..., Visitor]
Pictures = Callable[..., None]
SUBJECT = "Thanks for signing up!"
QUICK = ("--beat", "0.2s", "--lapse", "1s")
"""A worker that is dead is missed soon."""


def test_signing_up_sends_a_mail_by_the_worker(site: Site, web: Terminal, visitor: Visits, picture: Pictures) -> None:
    ada = visitor()
    ada.sign_up("new@example.org")
    picture("profile", ada.page)
    before = site.rows("SELECT task, queue, state FROM belayed_jobs")

    worker = site.worker()
    worker.says(SUBJECT, "accounts.mailers.welcome #1 succeeded")

    assert before == [("accounts.mailers.welcome", "mailers", "ready")]
    assert "enqueued accounts.mailers.welcome #1" in web.text
    assert SUBJECT not in web.text
    assert "To: new@example.org" in worker.text
    picture("terminal-web", web)
    picture("terminal-worker", worker)


def test_a_star_is_lit_before_the_server_has_answered_and_saved_by_the_worker(
    site: Site, visitor: Visits, picture: Pictures
) -> None:
    ada = visitor("ada")
    star = ada.open(1)
    answer = threading.Event()
    ada.page.route("**/favorites/**", lambda route: (held.append(route), answer.set()))
    held: list[Any] = []

    dark = star.shown
    star.click()
    ada.page.wait_for_function("document.querySelector('form.star output').value === '1'")
    lit = star.shown
    eventually(lambda: ada.page.wait_for_timeout(20) or answer.is_set())
    asked = site.rows("SELECT count(*) FROM belayed_jobs")
    picture("star-lit", ada.page)
    with ada.page.expect_response("**/favorites/"):
        held[0].continue_()
    ada.page.unroute("**/favorites/**")

    assert (dark, lit, asked) == ((False, 0), (True, 1), [(0,)])
    assert site.rows("SELECT task, queue, state, attempt FROM belayed_jobs") == [
        ("blog.services.FavoritesService.favorite", "favorites", "ready", 0)
    ]
    assert (site.likes(), star.reloaded()) == (0, (False, 0))

    worker = site.worker()
    eventually(lambda: site.likes() == 1)
    assert star.reloaded() == (True, 1)

    star.told()
    worker.says("blog.services.FavoritesService.unfavorite #2 succeeded")
    assert (site.likes(), star.reloaded()) == (0, (False, 0))


def test_after_ten_quick_clicks_what_is_shown_is_what_is_saved(site: Site, visitor: Visits) -> None:
    site.worker("--processes", "2")
    star = visitor("ada").open(1)

    star.told(11)
    shown = star.shown

    assert shown == (True, 1)
    eventually(lambda: site.idle() and site.likes() == 1)
    assert star.reloaded() == shown
    assert site.rows("SELECT count(*) FROM blog_favorite") == [(1,)]


def test_two_people_like_a_post_at_once(site: Site, visitor: Visits) -> None:
    site.worker()
    stars = [visitor(name).open(3) for name in ("ada", "alan")]

    for star in stars:
        star.click()

    eventually(lambda: site.likes() == 2)
    assert [star.reloaded() for star in stars] == [(True, 2), (True, 2)]


def test_without_javascript_the_star_is_a_form(site: Site, visitor: Visits) -> None:
    star = visitor("ada", java_script_enabled=False).open(1)

    star.click()
    site.manage("belayed", "workoff")

    assert star.reloaded() == (True, 1)


def test_who_is_logged_out_meanwhile_is_asked_to_log_in(site: Site, visitor: Visits) -> None:
    ada = visitor("ada")
    star = ada.open(1)
    ada.context.clear_cookies(name="sessionid")

    star.click()

    ada.page.get_by_role("heading", name="Log in").wait_for()
    assert site.rows("SELECT count(*) FROM belayed_jobs") == [(0,)]
    # The browser itself tells of the answer 401.
    assert [complaint for complaint in ada.complaints if "401" not in complaint] == []
    ada.complaints.clear()


def test_a_star_that_cannot_be_told_goes_back(visitor: Visits, picture: Pictures) -> None:
    ada = visitor("ada")
    star = ada.open(1)
    ada.page.route("**/favorites/**", lambda route: route.abort())

    star.click()
    ada.page.get_by_role("alert").wait_for()

    assert star.shown == (False, 0)
    picture("star-failed", ada.page)
    ada.complaints.clear()


def test_mail_waits_until_its_server_is_mended(site: Site, visitor: Visits, picture: Pictures) -> None:
    broken = {"DJANGO_SETTINGS_MODULE": "broken"}
    worker = site.worker(**broken)
    visitor().sign_up("new@example.org")
    worker.says("accounts.mailers.welcome #1 failed at attempt 1, again in", "ConnectionRefusedError")
    ((state, failures),) = site.rows("SELECT state, failures FROM belayed_jobs")
    waits = site.manage("belayed", "jobs")

    site.manage("belayed", "retry", "1", **broken)
    worker.says("FAILED permanently because of 2 consecutive failures")
    # The line comes before the outcome is written.
    eventually(lambda: "ConnectionRefusedError" in site.manage("belayed", "jobs", "--state", "failed"))
    picture("terminal-failure", worker)
    worker.signal(signal.SIGTERM)
    worker.ended()
    mended = site.worker()
    site.manage("belayed", "retry", "1")
    mended.says(SUBJECT, "accounts.mailers.welcome #1 succeeded")

    assert (state, failures) == ("scheduled", 1)
    assert "in " in waits
    assert "Traceback" in worker.text


def test_a_post_that_is_gone_and_a_damaged_row_harm_nobody(site: Site, visitor: Visits) -> None:
    ada = visitor("ada")
    ada.open(1).told()
    ada.page.get_by_role("button", name="Delete post").click()
    ada.page.get_by_text("Successfully deleted post.").wait_for()
    site.rows("UPDATE belayed_jobs SET priority = 0")
    site.rows(
        "INSERT INTO belayed_jobs (state, queue, priority, run_at, task, payload, created_at) "
        "SELECT state, queue, -100, run_at, task, '{', created_at FROM belayed_jobs"
    )
    ada.open(2).told()

    said = site.manage("belayed", "workoff", code=0)

    assert said == ""
    assert site.rows("SELECT state, count(*) FROM belayed_history GROUP BY state ORDER BY state") == [
        ("failed", 1),
        ("succeeded", 2),
    ]
    assert site.likes() == 1
    assert "the payload is not JSON" in site.manage("belayed", "jobs", "--state", "failed")


def nap(site: Site, seconds: float) -> None:
    site.manage("shell", "-c", f"import slow; from belayed import delay; delay(slow.nap)({seconds})")


def naps(site: Site) -> int:
    file = site.folder / "naps"
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_a_job_of_a_worker_that_was_killed_is_done_by_the_next(site: Site) -> None:
    worker = site.worker(*QUICK)
    nap(site, 1)
    eventually(lambda: naps(site) == 1)

    worker.signal(signal.SIGKILL)
    worker.ended()
    next_ = site.worker(*QUICK)
    next_.says("slow.nap #1 succeeded")

    assert naps(site) == 2
    eventually(site.idle)
    assert site.rows("SELECT state, attempt, rescues, failures FROM belayed_history") == [("succeeded", 1, 1, 0)]


def test_ctrl_c_waits_and_a_second_one_gives_the_job_back(site: Site, picture: Pictures) -> None:
    worker = site.worker()
    nap(site, 60)
    eventually(lambda: naps(site) == 1)

    worker.signal(signal.SIGINT)
    worker.says("stopping: 1 job may finish, within 25 s")
    still = worker.popen.poll()
    worker.signal(signal.SIGINT)
    code = worker.ended(10)

    assert (still, code) == (None, 0)
    assert site.rows("SELECT state, failures FROM belayed_jobs") == [("ready", 0)]
    picture("terminal-ctrl-c", worker)


def test_an_idle_worker_ends_at_once(site: Site) -> None:
    worker = site.worker()
    worker.signal(signal.SIGTERM)

    assert worker.ended(5) == 0


@pytest.mark.parametrize(("options", "variables"), [(("-q", "favorites"), {}), ((), {"QUEUES": "favorites"})])
def test_a_worker_serves_the_queues_that_it_is_told_to(
    site: Site, visitor: Visits, options: Any, variables: dict[str, str]
) -> None:
    ada = visitor()
    ada.sign_up("new@example.org")
    ada.open(1).told()

    site.worker(*options, **variables)

    eventually(lambda: site.rows("SELECT queue, state FROM belayed_jobs") == [("mailers", "ready")])
    assert site.likes() == 1


def test_two_workers_share_the_work_and_each_job_is_done_once(site: Site) -> None:
    for _ in range(2):
        site.worker("--threads", "1")
    site.manage("shell", "-c", "import slow; from belayed import delay; [delay(slow.nap)(0.01) for _ in range(300)]")

    eventually(lambda: naps(site) >= 300 and site.idle(), 30)

    assert naps(site) == 300
    workers = site.rows("SELECT count(DISTINCT worker), count(*) FROM belayed_history WHERE state = 'succeeded'")
    assert workers == [(2, 300)]


def test_jobs_that_wait_too_long_are_found(site: Site) -> None:
    nap(site, 0)
    fine = site.manage("belayed", "check", "--max-age", "300")
    site.rows("UPDATE belayed_jobs SET run_at = run_at - 301000000")

    late = site.manage("belayed", "check", "--max-age", "300", code=1)

    assert "No job has waited" in fine
    assert re.search(r"1 job has waited", late)


def test_edited_code_is_taken_by_the_worker(site: Site) -> None:
    worker = site.worker()
    code = site.folder / "slow.py"
    code.write_text(code.read_text().replace("begun", "begun anew"))
    worker.says("is replaced: slow.py changed")

    nap(site, 0)

    eventually(lambda: naps(site) == 1)
    assert (site.folder / "naps").read_text() == "begun anew\n"


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ("delay(User.objects.first()).get_nickname()", "AttributeError"),
        ("delay(welcome)()", "missing a required argument"),
        ("delay(User.objects.first()).get_username()", "is defined in 'django.contrib.auth.base_user'"),
    ],
)
def test_a_wrong_call_is_refused_where_it_is_written(site: Site, call: str, why: str) -> None:
    code = f"from accounts.models import User; from accounts.mailers import welcome; from belayed import delay; {call}"
    ran = site.ran("shell", "-c", code)

    assert ran.returncode != 0
    assert why in ran.stderr
    assert site.rows("SELECT count(*) FROM belayed_jobs") == [(0,)]
