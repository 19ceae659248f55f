"""Each page of the example, looked at: for accessibility, on a desk and on a phone, by day and by night."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.browser.conftest import Visitor
from tests.browser.site import Site

pytestmark = pytest.mark.deep

PAGES = {
    "posts": "/",
    "post": "/posts/1/",
    "new-post": "/posts/new/",
    "edit-post": "/posts/1/edit/",
    "new-comment": "/posts/1/comments/new/",
    "people": "/users/",
    "person": "/users/1/",
    "edit-person": "/users/1/edit/",
}
OF_ALL = {"sign-up": "/signup/", "log-in": "/login/", "post-of-others": "/posts/1/"}
PHONE = {"viewport": {"width": 375, "height": 740}, "color_scheme": "dark"}


def looked_at(page: Page, path: str) -> None:
    """Open a page, and find nothing that keeps anybody from using it."""
    page.goto(path)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    width = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert width[0] <= width[1], f"{path} is wider than the screen: {width}"


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desk", "phone"])
def test_every_page_can_be_used_by_all(
    options: dict[str, object],
    request: pytest.FixtureRequest,
    visitor: Callable[..., Visitor],
    picture: Callable[..., None],
) -> None:
    kind = request.node.callspec.id.rpartition("-")[2]
    nobody, ada = visitor(**options), visitor("ada", **options)

    for who, pages in ((nobody, OF_ALL), (ada, PAGES)):
        for name, path in pages.items():
            looked_at(who.page, path)
            picture(f"{kind}-{name}", who.page)


def test_what_is_wrong_in_a_form_is_told_beside_its_field(
    visitor: Callable[..., Visitor], picture: Callable[..., None]
) -> None:
    page = visitor().page
    page.goto("/signup/")
    page.get_by_label("Email").fill("new@example.org")
    page.get_by_label("Password").fill("short")

    page.get_by_role("main").get_by_role("button", name="Sign up").click()

    page.get_by_text("too short").wait_for()
    assert Axe().run(page).violations_count == 0
    picture("sign-up-wrong", page)


def test_the_keyboard_is_enough(site: Site, visitor: Callable[..., Visitor]) -> None:
    ada = visitor("ada")
    star = ada.open(1)

    ada.page.keyboard.press("Tab")
    skipped = ada.page.evaluate("document.activeElement.textContent")
    while not ada.page.evaluate("document.activeElement.matches('.star button')"):
        ada.page.keyboard.press("Tab")
    with ada.page.expect_response("**/favorites/"):
        ada.page.keyboard.press("Enter")

    assert skipped == "To the content"
    assert star.shown == (True, 1)


def test_the_admin_shows_the_jobs(site: Site, visitor: Callable[..., Visitor], picture: Callable[..., None]) -> None:
    site.rows("UPDATE accounts_user SET is_staff = 1, is_superuser = 1 WHERE email = 'ada@example.org'")
    ada = visitor("ada")
    ada.open(1).told()
    ada.page.goto("/admin/belayed/livejob/")
    picture("admin-waiting", ada.page)

    ada.page.get_by_role("link", name="1", exact=True).click()

    ada.page.get_by_text("blog.services.FavoritesService.favorite").first.wait_for()
    picture("admin-job", ada.page)
