"""What is done when somebody clicks on a star."""

from datetime import datetime

from accounts.models import User
from django.db import IntegrityError, transaction

from belayed import handle_asynchronously
from blog.models import Favorite, Post


class FavoritesService:
    """Saves favorites. A wish says when it was made: granted twice, or in any order, the last one counts."""

    @handle_asynchronously(queue="favorites")
    def favorite(self, user: User, post_id: int, at: datetime) -> None:
        """Let *user* like a post."""
        self.grant(user, post_id, True, at)

    @handle_asynchronously(queue="unfavorites")
    def unfavorite(self, user: User, post_id: int, at: datetime) -> None:
        """Let *user* not like a post any more."""
        self.grant(user, post_id, False, at)

    def grant(self, user: User, post_id: int, liked: bool, at: datetime) -> None:
        """Save a wish, if the post is still there."""
        if not Post.objects.filter(pk=post_id).exists():
            return
        wish = {"liked": liked, "wished_at": at}
        try:
            with transaction.atomic():
                Favorite.objects.get_or_create(user=user, post_id=post_id, defaults=wish)
        except IntegrityError:
            # The post has just gone.
            return
        Favorite.objects.filter(user=user, post_id=post_id, wished_at__lt=at).update(**wish)
