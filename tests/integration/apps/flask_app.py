# SPDX-License-Identifier: MIT
"""A Flask application: routes, JSON, a template, streaming, a session, an error."""

import os
import time

import flask

app = flask.Flask(__name__)
app.secret_key = "test"


@app.route("/")
def index():
    """A template."""
    return flask.render_template_string("<p>hello {{ name }}</p>", name="flask")


@app.route("/pid")
def pid():
    """Who answers."""
    return str(os.getpid())


@app.route("/sum/<int:a>/<int:b>")
def add(a, b):
    """JSON."""
    return flask.jsonify(sum=a + b)


@app.route("/sleep/<float:seconds>")
def sleep(seconds):
    """Slow."""
    time.sleep(seconds)
    return "slept"


@app.route("/upload", methods=["POST"])
def upload():
    """The length of a body."""
    return str(len(flask.request.get_data()))


@app.route("/stream")
def stream():
    """A body in parts."""
    return flask.Response(("part %d\n" % i for i in range(3)), mimetype="text/plain")


@app.route("/fail")
def fail():
    """An exception."""
    raise RuntimeError("asked to fail")


def create_app(name="factory"):
    """A factory, as Flask's manual has it."""
    made = flask.Flask(name)

    @made.route("/")
    def index():
        """The factory's argument."""
        return name
    return made
