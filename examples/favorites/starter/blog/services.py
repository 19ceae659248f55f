"""What is done when somebody clicks on a star."""

from accounts.models import User
from django.db import IntegrityError, transaction

from blog.models import Favorite, Post


class FavoritesService:
    """Saves favorites. Both methods may run twice: the second time they change nothing."""

    def favorite(self, user: User, post_id: int) -> None:
        """Let *user* like a post, if it is still there."""
        if not Post.objects.filter(pk=post_id).exists():
            return
        try:
            with transaction.atomic():
                Favorite.objects.get_or_create(user=user, post_id=post_id)
        except IntegrityError:
            # Somebody else was faster, or the post has just gone.
            pass

    def unfavorite(self, user: User, post_id: int) -> None:
        """Let *user* not like a post any more."""
        Favorite.objects.filter(user=user, post_id=post_id).delete()
