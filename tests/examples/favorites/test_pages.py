"""The pages of the example: the same in the starter and in the solution."""

from __future__ import annotations

import json

from accounts.models import User
from blog.models import Comment, Favorite, Post
from django.test import TestCase
from django.urls import reverse

LONG = "some words that are long enough"


class Pages(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.ada = User.objects.create_user("ada@example.org", "password")
        cls.bob = User.objects.create_user("bob@example.org", "password")
        cls.post = Post.objects.create(user=cls.ada, title="News", content=LONG)
        cls.comment = Comment.objects.create(user=cls.bob, post=cls.post, content=LONG)

    def log_in(self, user):
        self.client.force_login(user)

    def send(self, name, *args, **data):
        return self.client.post(reverse(name, args=args), data, follow=True)

    def get(self, name, *args):
        return self.client.get(reverse(name, args=args))


class Posts(Pages):
    def test_all_see_the_list_and_a_post(self):
        for page in (self.get("root"), self.get("posts"), self.get("post", self.post.pk)):
            self.assertContains(page, "News")
        self.assertContains(self.get("post", self.post.pk), LONG, count=2)

    def test_an_unknown_post_is_not_found(self):
        self.assertEqual(self.get("post", 999).status_code, 404)

    def test_who_is_logged_in_writes_one(self):
        self.log_in(self.bob)

        page = self.send("new_post", title="Mine", content=LONG)

        self.assertContains(page, "Successfully created post.")
        self.assertEqual(Post.objects.latest("pk").user, self.bob)

    def test_others_are_asked_to_log_in(self):
        for name, args in (("new_post", ()), ("edit_post", (self.post.pk,)), ("new_comment", (self.post.pk,))):
            self.assertRedirects(self.get(name, *args), f"{reverse('login')}?next={reverse(name, args=args)}")

    def test_what_is_too_short_is_told(self):
        self.log_in(self.ada)

        page = self.send("new_post", title="x", content="short")

        self.assertContains(page, "at least 3 characters")
        self.assertContains(page, "at least 10 characters")
        self.assertEqual(Post.objects.count(), 1)

    def test_the_owner_changes_and_deletes_it(self):
        self.log_in(self.ada)

        changed = self.send("edit_post", self.post.pk, title="Other", content=LONG)
        deleted = self.send("delete_post", self.post.pk)

        self.assertContains(changed, "Successfully updated post.")
        self.assertContains(deleted, "Successfully deleted post.")
        self.assertFalse(Post.objects.exists())

    def test_others_do_not(self):
        self.log_in(self.bob)

        for name in ("edit_post", "delete_post"):
            page = self.send(name, self.post.pk, title="Other", content=LONG)
            self.assertRedirects(page, reverse("user", args=[self.bob.pk]))
        self.post.refresh_from_db()
        self.assertEqual(self.post.title, "News")


class Comments(Pages):
    def test_they_are_written_changed_and_deleted_by_their_owner(self):
        self.log_in(self.bob)

        made = self.send("new_comment", self.post.pk, content="another comment")
        changed = self.send("edit_comment", self.post.pk, self.comment.pk, content="a changed comment")
        deleted = self.send("delete_comment", self.post.pk, self.comment.pk)

        self.assertContains(made, "Successfully created comment.")
        self.assertContains(changed, "Successfully updated comment.")
        self.assertContains(deleted, "Successfully deleted comment.")

    def test_others_do_not(self):
        self.log_in(self.ada)

        self.send("delete_comment", self.post.pk, self.comment.pk)

        self.assertTrue(Comment.objects.filter(pk=self.comment.pk).exists())

    def test_a_comment_is_found_at_its_own_post_only(self):
        self.log_in(self.bob)
        other = Post.objects.create(user=self.ada, title="Other", content=LONG)

        self.assertEqual(self.get("edit_comment", other.pk, self.comment.pk).status_code, 404)


class People(Pages):
    def test_all_see_them(self):
        self.assertContains(self.get("users"), "ada@example.org")
        self.assertContains(self.get("user", self.ada.pk), "News")

    def test_sign_up_logs_in(self):
        page = self.send("signup", email="eve@example.org", password="password")

        self.assertContains(page, "Successfully signed up.")
        self.assertEqual(int(self.client.session["_auth_user_id"]), User.objects.get(email="eve@example.org").pk)

    def test_wrong_sign_ups_are_told(self):
        for email, password, why in (
            ("nobody", "password", "valid"),
            ("new@example.org", "short", "too short"),
            ("ADA@example.org", "password", "already"),
            ("", "password", "required"),
        ):
            self.assertContains(self.send("signup", email=email, password=password), why)
        self.assertEqual(User.objects.count(), 2)

    def test_logging_in_and_out(self):
        wrong = self.send("login", email="ada@example.org", password="wrong")
        right = self.send("login", email="Ada@Example.org", password="password")
        out = self.send("logout")

        self.assertContains(wrong, "Incorrect email or password.")
        self.assertContains(right, "Successfully logged in.")
        self.assertContains(out, "Successfully logged out.")
        self.assertEqual(self.client.get(reverse("logout")).status_code, 405)

    def test_a_profile_is_changed_and_deleted_by_its_owner_alone(self):
        self.log_in(self.bob)
        self.send("edit_user", self.ada.pk, email="x@example.org", password="")
        self.send("delete_user", self.ada.pk)
        changed = self.send("edit_user", self.bob.pk, email="rob@example.org", password="")

        self.assertContains(changed, "Successfully updated profile.")
        self.assertEqual({user.email for user in User.objects.all()}, {"ada@example.org", "rob@example.org"})
        self.assertContains(self.send("delete_user", self.bob.pk), "Successfully deleted profile.")


class Stars(Pages):
    def star(self, **given):
        return self.client.post(reverse("favorites"), json.dumps(given), content_type="application/json")

    def test_who_is_not_logged_in_is_told_so(self):
        answers = (self.star(post_id=self.post.pk), self.client.delete(reverse("favorite", args=[self.post.pk])))

        self.assertEqual([answer.status_code for answer in answers], [401, 401])
        self.assertNotContains(self.get("post", self.post.pk), "aria-pressed")

    def test_the_answer_is_empty(self):
        self.log_in(self.bob)

        answers = (self.star(post_id=self.post.pk), self.client.delete(reverse("favorite", args=[self.post.pk])))

        self.assertEqual([answer.status_code for answer in answers], [204, 204])

    def test_a_request_without_a_post_is_refused(self):
        self.log_in(self.bob)

        self.assertEqual(self.star().status_code, 400)

    def test_a_saved_star_is_shown(self):
        Favorite.objects.create(user=self.bob, post=self.post)
        Favorite.objects.create(user=self.ada, post=self.post, liked=False)
        self.log_in(self.bob)

        self.assertContains(self.get("post", self.post.pk), 'aria-pressed="true"')
        self.assertContains(self.get("posts"), "1 ★")

    def test_it_works_as_a_form(self):
        self.log_in(self.bob)

        self.assertRedirects(self.send("favorites", post_id=self.post.pk), reverse("post", args=[self.post.pk]))
