"""The addresses of the shop: Django's own admin, and one of the shop's."""

from django.contrib import admin
from django.urls import path

from belayed.django.admin import register

staff = admin.AdminSite("staff")
register(staff)

urlpatterns = [path("admin/", admin.site.urls), path("staff/", staff.urls)]
