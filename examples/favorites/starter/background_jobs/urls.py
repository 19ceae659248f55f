"""The addresses of the blog."""

from accounts import views as accounts
from blog import views as blog
from django.contrib import admin
from django.urls import path

urlpatterns = [
    path("", blog.index, name="root"),
    path("posts/", blog.index, name="posts"),
    path("posts/new/", blog.new_post, name="new_post"),
    path("posts/<int:post_id>/", blog.show, name="post"),
    path("posts/<int:post_id>/edit/", blog.edit_post, name="edit_post"),
    path("posts/<int:post_id>/delete/", blog.delete_post, name="delete_post"),
    path("posts/<int:post_id>/comments/new/", blog.new_comment, name="new_comment"),
    path("posts/<int:post_id>/comments/<int:comment_id>/edit/", blog.edit_comment, name="edit_comment"),
    path("posts/<int:post_id>/comments/<int:comment_id>/delete/", blog.delete_comment, name="delete_comment"),
    path("favorites/", blog.favorite, name="favorites"),
    path("favorites/<int:post_id>/", blog.unfavorite, name="favorite"),
    path("signup/", accounts.sign_up, name="signup"),
    path("login/", accounts.log_in, name="login"),
    path("logout/", accounts.log_out, name="logout"),
    path("users/", accounts.index, name="users"),
    path("users/<int:user_id>/", accounts.show, name="user"),
    path("users/<int:user_id>/edit/", accounts.edit, name="edit_user"),
    path("users/<int:user_id>/delete/", accounts.delete, name="delete_user"),
    path("admin/", admin.site.urls),
]
