# SPDX-License-Identifier: MIT
"""A Django project with admin, auth and sessions, its database in TEST_FILE.

Run as a program it makes the database with a user "admin", password "secret".
"""

import os
import sys

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"], DEBUG=False, ROOT_URLCONF=__name__, SECRET_KEY="test",
    INSTALLED_APPS=["django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
                    "django.contrib.sessions", "django.contrib.messages"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3",
                           "NAME": os.environ["TEST_FILE"],
                           "CONN_MAX_AGE": int(os.environ.get("TEST_MAX_AGE", "0"))}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField", STATIC_URL="/static/",
    # The default takes a quarter of a second for each login.
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
                "OPTIONS": {"context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages"]}}],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware",
                "django.middleware.common.CommonMiddleware",
                "django.middleware.csrf.CsrfViewMiddleware",
                "django.contrib.auth.middleware.AuthenticationMiddleware",
                "django.contrib.messages.middleware.MessageMiddleware"])
django.setup()

from django.contrib import admin                          # noqa: E402
from django.contrib.auth.models import User               # noqa: E402
from django.core.asgi import get_asgi_application         # noqa: E402
from django.core.wsgi import get_wsgi_application         # noqa: E402
from django.db import connections                         # noqa: E402
from django.http import JsonResponse                      # noqa: E402
from django.template import engines                       # noqa: E402
from django.urls import path                              # noqa: E402


def index(request):
    """A page that asks the database."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JsonResponse({"pid": os.getpid(), "users": User.objects.count(),
                         "visits": request.session["visits"]})


def loaded(request):
    """What this process has in its cache of templates, and which connections it has."""
    loader = engines["django"].engine.template_loaders[0]
    return JsonResponse({
        "pid": os.getpid(),
        "templates": sorted(t.origin.template_name for t in loader.get_template_cache.values()
                            if hasattr(t, "origin")),
        "connections": [c.connection is not None for c in connections.all()]})


def close_connections():
    """For before-fork."""
    connections.close_all()


urlpatterns = [path("", index), path("loaded", loaded), path("admin/", admin.site.urls)]

application = get_wsgi_application()
asgi = get_asgi_application()

if __name__ == "__main__":
    from django.core.management import call_command
    call_command("migrate", verbosity=0)
    User.objects.create_superuser("admin", "admin@example.com", "secret")
    sys.exit(0)
