"""The solution does by jobs what need not be done in the request."""

from __future__ import annotations

import json
from datetime import timedelta
from unittest import mock

from accounts.mailers import welcome
from accounts.models import User
from blog.models import Favorite, Post
from blog.services import FavoritesService
from django.core import mail
from django.test import TestCase
from django.urls import reverse
from django.utils import timezone

from belayed.config import current
from belayed.testing import assert_enqueued, drain, inline, refute_enqueued


class ByJobs(TestCase):
    def setUp(self):
        self.ada = User.objects.create_user("ada@example.org", "password")
        self.post = Post.objects.create(user=self.ada, title="News", content="some words")
        self.client.force_login(self.ada)

    def star(self):
        given = json.dumps({"post_id": self.post.pk})
        return self.client.post(reverse("favorites"), given, content_type="application/json")

    def unstar(self):
        return self.client.delete(reverse("favorite", args=[self.post.pk]))

    def test_a_star_is_a_job_and_nothing_is_saved_yet(self):
        self.star()

        job = assert_enqueued(FavoritesService().favorite, queue="favorites", count=1)
        self.assertFalse(Favorite.objects.exists())
        self.assertIn(f'["accounts.user",{self.ada.pk},"default"]', job.payload)
        self.assertNotIn("password", job.payload)
        self.assertNotIn(self.ada.email, job.payload)

    def test_its_job_saves_it(self):
        self.star()

        drain()

        self.assertEqual(Favorite.objects.get().user, self.ada)

    def test_twice_is_once(self):
        self.star()
        self.star()

        drain()

        self.assertEqual(Favorite.objects.count(), 1)

    def test_taking_it_back_is_a_job_too(self):
        Favorite.objects.create(user=self.ada, post=self.post)
        self.unstar()
        assert_enqueued(FavoritesService().unfavorite, queue="unfavorites")

        drain()

        self.assertFalse(Favorite.objects.get().liked)

    def test_the_last_wish_counts_whatever_runs_first(self):
        for _ in range(2):
            self.star()
            self.unstar()
        self.star()

        for queue in ("unfavorites", "favorites", "unfavorites"):
            drain(queue)

        self.assertTrue(Favorite.objects.get().liked)

    def test_an_older_wish_changes_nothing(self):
        now = timezone.now()

        FavoritesService().unfavorite(self.ada, self.post.pk, now)
        FavoritesService().favorite(self.ada, self.post.pk, now - timedelta(seconds=1))
        drain()

        self.assertFalse(Favorite.objects.get().liked)

    def test_who_is_not_logged_in_makes_no_job(self):
        self.client.logout()

        self.star()
        self.unstar()

        refute_enqueued()

    def test_a_post_that_is_gone_by_then_is_nothing_to_like(self):
        self.star()
        self.post.delete()

        drain()

        self.assertFalse(Favorite.objects.exists())

    def test_sign_up_makes_one_job_and_that_sends_one_mail(self):
        self.client.logout()
        self.client.post(reverse("signup"), {"email": "eve@example.org", "password": "password"})
        before = len(mail.outbox)
        assert_enqueued(welcome, queue="mailers", count=1)

        drain()

        (sent,) = mail.outbox
        self.assertEqual((before, sent.to, sent.subject), (0, ["eve@example.org"], "Thanks for signing up!"))
        self.assertIn("eve@example.org", sent.body)

    def test_a_sign_up_that_fails_leaves_no_job(self):
        self.client.logout()
        with mock.patch("accounts.views.transaction.atomic", side_effect=RuntimeError), self.assertRaises(RuntimeError):
            self.client.post(reverse("signup"), {"email": "eve@example.org", "password": "password"})

        refute_enqueued()

    def test_logging_in_and_writing_make_no_job(self):
        self.client.post(reverse("new_post"), {"title": "Mine", "content": "some more words"})
        self.client.post(reverse("logout"))
        self.client.post(reverse("login"), {"email": "ada@example.org", "password": "password"})

        self.assertEqual(current().find(), [])

    def test_inline_all_is_done_at_once(self):
        with inline():
            self.star()

        self.assertTrue(Favorite.objects.exists())
