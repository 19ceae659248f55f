"""The starter does everything in the request."""

from __future__ import annotations

from accounts.models import User
from blog.models import Favorite, Post
from django.core import mail
from django.test import TestCase
from django.urls import reverse


class InTheRequest(TestCase):
    def test_a_star_is_saved_at_once(self):
        user = User.objects.create_user("ada@example.org", "password")
        post = Post.objects.create(user=user, title="News", content="some words")
        self.client.force_login(user)

        self.client.post(reverse("favorites"), {"post_id": post.pk})

        self.assertEqual(Favorite.objects.get().post, post)

    def test_the_mail_is_sent_at_once(self):
        self.client.post(reverse("signup"), {"email": "ada@example.org", "password": "password"})

        self.assertEqual([one.subject for one in mail.outbox], ["Thanks for signing up!"])
