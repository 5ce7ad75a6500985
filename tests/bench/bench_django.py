# SPDX-License-Identifier: MIT
"""The Django application of the benchmarks: the usual applications installed, and three pages.

/ answers a short text, /rights/ renders a template with the rows of a query, /admin/login/ is the
admin's. The database is the SQLite file of BENCH_DJANGO_DB; `python bench_django.py` makes it.
"""

import os

import django
from django.conf import settings

PATHS = ("/", "/rights/", "/admin/login/")

_APPS = ["django.contrib." + name for name in (
    "admin", "auth", "contenttypes", "sessions", "messages", "staticfiles")]

_TEMPLATES = {
    "base.html": "<!DOCTYPE html><title>{% block title %}{% endblock %}</title>"
                 "<body>{% block content %}{% endblock %}</body>",
    "rights.html": "{% extends 'base.html' %}{% block title %}Rights{% endblock %}"
                   "{% block content %}<table>{% for right in rights %}"
                   "<tr class=\"{% cycle 'odd' 'even' %}\"><td>{{ forloop.counter }}</td>"
                   "<td>{{ right.content_type.app_label|title }}</td><td>{{ right.name }}</td>"
                   "<td>{{ right.codename|upper }}</td></tr>{% empty %}none{% endfor %}</table>"
                   "{% endblock %}",
}

settings.configure(
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="of-a-benchmark",
    ROOT_URLCONF="bench_django",
    INSTALLED_APPS=_APPS,
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    TEMPLATES=[{
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "loaders": [("django.template.loaders.cached.Loader", [
                ("django.template.loaders.locmem.Loader", _TEMPLATES),
                "django.template.loaders.app_directories.Loader"])],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages"],
        },
    }],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3",
                           "NAME": os.environ["BENCH_DJANGO_DB"]}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    STATIC_URL="/static/",
    USE_TZ=True,
)
django.setup()


def _index(_request):
    """A page without template and query."""
    from django.http import HttpResponse
    return HttpResponse("Hello, world, from a benchmark.\n")


def _rights(request):
    """All rights of the application, with their types from a second table."""
    from django.contrib.auth.models import Permission
    from django.shortcuts import render
    rights = Permission.objects.select_related("content_type").order_by("codename")
    return render(request, "rights.html", {"rights": rights})


def _urls():
    """The pages; Django imports this module for urlpatterns, at the first request."""
    from django.contrib import admin
    from django.urls import path
    return [path("", _index), path("rights/", _rights), path("admin/", admin.site.urls)]


def _make_database():
    """Tables, and the rows that Django itself puts there."""
    from django.core.management import call_command
    call_command("migrate", verbosity=0)


if __name__ == "__main__":
    _make_database()
else:
    from django.core.wsgi import get_wsgi_application
    wsgi = get_wsgi_application()


def __getattr__(name):
    """urlpatterns as late as in a project, where they have a module of their own."""
    if name != "urlpatterns":
        raise AttributeError(name)
    globals()["urlpatterns"] = found = _urls()
    return found
