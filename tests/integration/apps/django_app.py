# SPDX-License-Identifier: MIT
"""A Django project in one file: WSGI and ASGI handler, a view, a database, a template."""

import os

import django
from django.conf import settings

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"], DEBUG=False, ROOT_URLCONF=__name__, SECRET_KEY="test",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
        LOGGING={"version": 1, "disable_existing_loggers": False,
                 "handlers": {"console": {"class": "logging.StreamHandler"}},
                 "root": {"handlers": ["console"]}},
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"])
    django.setup()

from django.core.asgi import get_asgi_application         # noqa: E402
from django.core.wsgi import get_wsgi_application         # noqa: E402
from django.db import connection                          # noqa: E402
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse  # noqa: E402
from django.template import engines                       # noqa: E402
from django.urls import path                              # noqa: E402


def index(request):
    """A template."""
    template = engines["django"].from_string("<p>hello {{ name }}</p>")
    return HttpResponse(template.render({"name": "django"}))


def pid(request):
    """Who answers."""
    return HttpResponse(str(os.getpid()))


def add(request, a, b):
    """JSON, from the database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s + %s", [a, b])
        return JsonResponse({"sum": cursor.fetchone()[0]})


def upload(request):
    """The length of a body."""
    return HttpResponse(str(len(request.body)))


def stream(request):
    """A body in parts."""
    return StreamingHttpResponse("part %d\n" % i for i in range(3))


def fail(request):
    """An exception."""
    raise RuntimeError("asked to fail")


urlpatterns = [
    path("", index), path("pid", pid), path("sum/<int:a>/<int:b>", add),
    path("upload", upload), path("stream", stream), path("fail", fail),
]

application = get_wsgi_application()
asgi = get_asgi_application()
