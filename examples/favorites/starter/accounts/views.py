"""Accounts, and logging in and out."""

from django.contrib import messages
from django.contrib.auth import login, logout
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from accounts.forms import LogIn, SignUp
from accounts.mailers import welcome
from accounts.models import User


def sign_up(request):
    """A new account, with a mail that greets it."""
    if request.user.is_authenticated:
        return redirect("user", request.user.pk)
    form = SignUp(request.POST or None)
    if form.is_valid():
        with transaction.atomic():
            user = form.save()
            welcome(user)
        login(request, user)
        messages.success(request, "Successfully signed up.")
        return redirect("user", user.pk)
    return render(request, "accounts/form.html", {"form": form, "title": "Sign up", "action": "Sign up"})


def log_in(request):
    if request.user.is_authenticated:
        return redirect("user", request.user.pk)
    form = LogIn(request.POST or None)
    if form.is_valid():
        login(request, form.user)
        messages.success(request, "Successfully logged in.")
        return redirect("user", form.user.pk)
    return render(request, "accounts/form.html", {"form": form, "title": "Log in", "action": "Log in"})


@require_POST
def log_out(request):
    logout(request)
    messages.success(request, "Successfully logged out.")
    return redirect("root")


def index(request):
    return render(request, "accounts/index.html", {"users": User.objects.order_by("pk")})


def show(request, user_id):
    user = get_object_or_404(User, pk=user_id)
    return render(request, "accounts/show.html", {"person": user, "posts": user.posts.order_by("-pk")})


@login_required
def edit(request, user_id):
    if request.user.pk != user_id:
        return redirect("user", request.user.pk)
    form = SignUp(request.POST or None, instance=get_object_or_404(User, pk=user_id))
    if form.is_valid():
        user = form.save()
        login(request, user)
        messages.success(request, "Successfully updated profile.")
        return redirect("user", user.pk)
    return render(request, "accounts/form.html", {"form": form, "title": "Your profile", "action": "Save"})


@require_POST
@login_required
def delete(request, user_id):
    if request.user.pk != user_id:
        return redirect("user", request.user.pk)
    user = request.user
    logout(request)
    User.objects.filter(pk=user.pk).delete()
    messages.success(request, "Successfully deleted profile.")
    return redirect("root")
