"""`manage.py seed`: people, posts and comments to play with. It may be run again: there are no more afterwards."""

import random

from accounts.models import User
from django.core.management.base import BaseCommand
from django.db import transaction

from blog.models import Comment, Post

WORDS = [
    "amber",
    "anchor",
    "basket",
    "candle",
    "cedar",
    "cloud",
    "copper",
    "dawn",
    "drift",
    "ember",
    "fern",
    "garden",
    "harbor",
    "hollow",
    "island",
    "lantern",
    "meadow",
    "morning",
    "north",
    "orchard",
    "paper",
    "pebble",
    "quiet",
    "rain",
    "river",
    "saddle",
    "shore",
    "silver",
    "spring",
    "stone",
    "story",
    "summer",
    "thistle",
    "timber",
    "valley",
    "velvet",
    "water",
    "willow",
    "winter",
    "wren",
]
NAMES = ["ada", "alan", "barbara", "edsger", "frances", "grace", "john", "katherine", "niklaus", "tony"]


class Command(BaseCommand):
    help = "Make 10 people, 5 posts of each, and 5 comments of each. The password of all is 'password'."

    def add_arguments(self, parser):
        parser.add_argument("--seed", type=int, default=1, help="Another number makes other texts.")

    @transaction.atomic
    def handle(self, *args, **options):
        pick = random.Random(options["seed"])

        def text(least, most):
            return " ".join(pick.choices(WORDS, k=pick.randint(least, most))).capitalize()

        people = []
        for name in NAMES:
            person = User.objects.filter(email=f"{name}@example.org").first()
            people.append(person or User.objects.create_user(f"{name}@example.org", "password"))
        for person in people:
            for _ in range(5 - person.posts.count()):
                Post.objects.create(user=person, title=text(2, 5), content=f"{text(12, 30)}. {text(12, 30)}.")
        posts = list(Post.objects.order_by("pk"))
        for person in people:
            for _ in range(5 - person.comments.count()):
                Comment.objects.create(user=person, post=pick.choice(posts), content=f"{text(4, 12)}.")
        self.stdout.write(
            f"{User.objects.count()} people, {Post.objects.count()} posts, {Comment.objects.count()} comments."
        )
