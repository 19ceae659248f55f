"""The mails to people."""

from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string

from accounts.models import User


def welcome(user: User) -> None:
    """Greet somebody who has signed up."""
    given = {"user": user}
    message = EmailMultiAlternatives(
        "Thanks for signing up!",
        render_to_string("accounts/welcome.txt", given),
        to=[user.email],
    )
    message.attach_alternative(render_to_string("accounts/welcome.html", given), "text/html")
    message.send()
