"""Posts, comments, and the stars on posts."""

import json

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count, Q
from django.http import HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from blog.forms import CommentForm, PostForm
from blog.models import Comment, Post
from blog.services import FavoritesService


def index(request):
    """All posts, the newest first; POST adds one."""
    if request.method == "POST":
        return new_post(request)
    posts = Post.objects.select_related("user").annotate(
        comment_count=Count("comments", distinct=True),
        favorite_count=Count("favorites", filter=Q(favorites__liked=True), distinct=True),
    )
    return render(request, "blog/index.html", {"posts": posts.order_by("-pk")})


def show(request, post_id):
    post = get_object_or_404(Post.objects.select_related("user"), pk=post_id)
    likes = post.favorites.filter(liked=True)
    given = {
        "post": post,
        "comments": post.comments.select_related("user").order_by("pk"),
        "favorite_count": likes.count(),
        "favorited": request.user.is_authenticated and likes.filter(user=request.user).exists(),
    }
    return render(request, "blog/show.html", given)


@login_required
def new_post(request):
    form = PostForm(request.POST or None, instance=Post(user=request.user))
    if form.is_valid():
        post = form.save()
        messages.success(request, "Successfully created post.")
        return redirect("post", post.pk)
    return render(request, "blog/form.html", {"form": form, "title": "New post", "action": "Publish"})


@login_required
def edit_post(request, post_id):
    post = get_object_or_404(Post, pk=post_id)
    if post.user != request.user:
        return redirect("user", request.user.pk)
    form = PostForm(request.POST or None, instance=post)
    if form.is_valid():
        form.save()
        messages.success(request, "Successfully updated post.")
        return redirect("post", post.pk)
    return render(request, "blog/form.html", {"form": form, "title": "Edit post", "action": "Save"})


@require_POST
@login_required
def delete_post(request, post_id):
    post = get_object_or_404(Post, pk=post_id)
    if post.user != request.user:
        return redirect("user", request.user.pk)
    post.delete()
    messages.success(request, "Successfully deleted post.")
    return redirect("posts")


@login_required
def new_comment(request, post_id):
    post = get_object_or_404(Post, pk=post_id)
    form = CommentForm(request.POST or None, instance=Comment(user=request.user, post=post))
    if form.is_valid():
        form.save()
        messages.success(request, "Successfully created comment.")
        return redirect("post", post.pk)
    return render(request, "blog/form.html", {"form": form, "title": f"Comment on {post}", "action": "Say it"})


@login_required
def edit_comment(request, post_id, comment_id):
    comment = get_object_or_404(Comment, pk=comment_id, post=post_id)
    if comment.user != request.user:
        return redirect("user", request.user.pk)
    form = CommentForm(request.POST or None, instance=comment)
    if form.is_valid():
        form.save()
        messages.success(request, "Successfully updated comment.")
        return redirect("post", post_id)
    return render(request, "blog/form.html", {"form": form, "title": "Edit comment", "action": "Save"})


@require_POST
@login_required
def delete_comment(request, post_id, comment_id):
    comment = get_object_or_404(Comment, pk=comment_id, post=post_id)
    if comment.user != request.user:
        return redirect("user", request.user.pk)
    comment.delete()
    messages.success(request, "Successfully deleted comment.")
    return redirect("post", post_id)


def asked(request):
    """The number of the post that a request is about; 0: it names none."""
    try:
        found = json.loads(request.body) if request.content_type == "application/json" else request.POST
        return int(found["post_id"])
    except (ValueError, TypeError, KeyError):
        return 0


def answered(request, post_id):
    """Nothing for a script; for a form the page that it was on."""
    return HttpResponse(status=204) if request.content_type == "application/json" else redirect("post", post_id)


@require_POST
def favorite(request):
    """Like a post. The answer does not wait for it."""
    if not request.user.is_authenticated:
        return JsonResponse({"error": "Log in first."}, status=401)
    post_id = asked(request)
    if not post_id:
        return JsonResponse({"error": "Which post?"}, status=400)
    FavoritesService().favorite(request.user, post_id, timezone.now())
    return answered(request, post_id)


@require_http_methods(["DELETE", "POST"])
def unfavorite(request, post_id):
    """Do not like a post any more. Forms know no DELETE, and POST instead."""
    if not request.user.is_authenticated:
        return JsonResponse({"error": "Log in first."}, status=401)
    FavoritesService().unfavorite(request.user, post_id, timezone.now())
    return HttpResponse(status=204) if request.method == "DELETE" else redirect("post", post_id)
