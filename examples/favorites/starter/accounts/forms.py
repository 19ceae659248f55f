"""What people fill in about themselves."""

from django import forms
from django.contrib.auth import authenticate
from django.contrib.auth.password_validation import validate_password

from accounts.models import User


class SignUp(forms.ModelForm):
    """A new account; or, with a user, changes to one, where an empty password is kept."""

    password = forms.CharField(widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}))

    class Meta:
        model = User
        fields = ["email"]
        widgets = {"email": forms.EmailInput(attrs={"autocomplete": "email"})}

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["password"].required = self.instance.pk is None

    def clean_password(self):
        password = self.cleaned_data["password"]
        if password:
            validate_password(password, self.instance)
        return password

    def save(self, commit=True):
        if self.cleaned_data["password"]:
            self.instance.set_password(self.cleaned_data["password"])
        return super().save(commit)


class LogIn(forms.Form):
    """Who somebody says to be."""

    email = forms.CharField(widget=forms.EmailInput(attrs={"autocomplete": "email"}))
    password = forms.CharField(widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}))

    def clean(self):
        found = super().clean()
        self.user = authenticate(username=found.get("email"), password=found.get("password"))
        if self.user is None:
            raise forms.ValidationError("Incorrect email or password.")
        return found
