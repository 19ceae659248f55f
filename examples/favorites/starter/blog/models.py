"""Posts, what people say about them, and who likes which."""

from django.conf import settings
from django.core.validators import MinLengthValidator
from django.db import models
from django.utils import timezone


class Timed(models.Model):
    """When it was made and last changed."""

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True


class Post(Timed):
    title = models.CharField(max_length=200, validators=[MinLengthValidator(3)])
    content = models.TextField(validators=[MinLengthValidator(10)])
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="posts")

    def __str__(self):
        return self.title


class Comment(Timed):
    content = models.TextField(validators=[MinLengthValidator(10)])
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="comments")
    post = models.ForeignKey(Post, models.CASCADE, related_name="comments")

    def __str__(self):
        return self.content[:40]


class Favorite(Timed):
    """What somebody last wished of a post: to like it, or not any more."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    post = models.ForeignKey(Post, models.CASCADE, related_name="favorites")
    liked = models.BooleanField(default=True)
    wished_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "post"], name="unique_favorite")]

    def __str__(self):
        return f"{self.user} likes {self.post}" if self.liked else f"{self.user} liked {self.post}"
