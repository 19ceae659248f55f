"""Models with methods that are jobs."""

from __future__ import annotations

import uuid

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models

from belayed import Delayable, handle_asynchronously
from belayed.errors import ObjectNotFound


class Visible(models.Manager):
    """Hides what is hidden, as a default manager may."""

    def get_queryset(self):
        return super().get_queryset().filter(hidden=False)

    def like_all(self, by: int = 1) -> int:
        return self.get_queryset().update(likes=models.F("likes") + by)

    def unlock_all(self, name: str, password: str) -> None: ...

    @handle_asynchronously(queue="likes")
    def reset(self) -> int:
        return self.get_queryset().update(likes=0)


class Post(Delayable, models.Model):
    title = models.CharField(max_length=100)
    likes = models.IntegerField(default=0)
    hidden = models.BooleanField(default=False)
    error = models.TextField(default="")

    objects = Visible()

    def like(self, by: int = 1) -> int:
        self.likes += by
        self.save(update_fields=["likes"])
        return self.likes

    @handle_asynchronously(queue="likes", priority=lambda self: -self.likes)
    def publish(self, to: str = "all") -> str:
        return f"{self.title} to {to}"

    def unlock(self, name: str, password: str) -> None: ...

    @handle_asynchronously(discard_on=ObjectNotFound)
    def expire(self) -> None:
        """Of no interest for a post that is gone."""

    @handle_asynchronously(retry_on=ConnectionError)
    def archive(self) -> None:
        """Nothing but a lost connection is worth another try."""


class Baskets(models.QuerySet):
    """Copied onto managers by Django, with the methods that it inherits."""

    def fill(self, title: str) -> int:
        return self.update(title=title)

    def emptied(self) -> int:
        return self.count()


class Basket(models.Model):
    title = models.CharField(max_length=100)

    objects = Baskets.as_manager()
    plain = models.Manager.from_queryset(Baskets)()

    def rename(self, title: str) -> None:
        self.title = title
        self.save()


class Member(AbstractBaseUser):
    """A user of the project's own, most of whose code is others'."""

    username = models.CharField(max_length=100, unique=True)

    USERNAME_FIELD = "username"
    objects = BaseUserManager()

    def greeting(self) -> str:
        return f"hello {self.username}"


class Ticket(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)

    def unlock(self, name: str, *passwords: str) -> None: ...

    def ring(self) -> str:
        return str(self.id)


class Log(models.Model):
    """Lives in another database."""

    text = models.TextField()

    def shout(self) -> str:
        return self.text.upper()
