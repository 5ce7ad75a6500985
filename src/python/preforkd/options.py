# SPDX-License-Identifier: MIT
"""Section [server]: options of the server itself, given as text.

Each server module knows its options and their types; here are the conversions, and the errors for
what is unknown, badly written, or preforkd's own business. All errors are told at once.
"""

import ast
import difflib
import ssl

from .errors import BootError

_TRUE = ("1", "yes", "true", "on", "y", "t")
_FALSE = ("0", "no", "false", "off", "n", "f")


def key_of(name):
    """Options may be written with '-' or '_'."""
    return name.strip().lower().replace("-", "_")


def as_bool(text):
    """yes/no, true/false, on/off, 1/0."""
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("write yes or no")


def as_int(text):
    """A whole number; 0x and 0o are understood."""
    try:
        return int(text.strip(), 0)
    except ValueError:
        raise ValueError("not a whole number") from None


def as_number(text):
    """A number; whole ones stay whole."""
    try:
        return as_int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise ValueError("not a number") from None


def as_list(text):
    """Items between commas."""
    return [item.strip() for item in text.split(",") if item.strip()]


def as_literal(text):
    """A Python literal, for options that take lists of lists or dictionaries."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError):
        raise ValueError("not a Python literal") from None


def as_constant(prefix):
    """A converter for constants of the ssl module, by name or number."""
    def convert(text):
        """CERT_REQUIRED, REQUIRED and 2 are the same."""
        word = text.strip().upper()
        if word.isdigit():
            return int(word)
        value = getattr(ssl, word if word.startswith(prefix) else prefix + word, None)
        if value is None:
            raise ValueError("ssl knows no %s%s" % (prefix, word))
        return value
    return convert


def as_choice(*words):
    """A converter that accepts these words only."""
    def convert(text):
        """The word itself."""
        word = text.strip()
        if word not in words:
            raise ValueError("one of %s" % ", ".join(words))
        return word
    return convert


class Problems:
    """Collects everything that is wrong with [server], to be told at once."""

    def __init__(self, server):
        """server is the name and version for the text."""
        self._server = server
        self._lines = []

    def owned(self, name, instead):
        """An option that preforkd takes care of."""
        self._lines.append("%s is preforkd's: %s" % (name, instead))

    def unknown(self, name, known):
        """An option that the server does not have."""
        text = "%s has no option %s" % (self._server, name)
        near = difflib.get_close_matches(key_of(name), sorted(known), 1)
        if near:
            text += "; did you mean %s?" % near[0].replace("_", "-")
        self._lines.append(text)

    def bad(self, name, value, why):
        """A value that the server cannot take."""
        self._lines.append("%s = %s: %s" % (name, value, why))

    def add(self, text):
        """Anything else."""
        self._lines.append(text)

    def check(self):
        """Raises BootError when anything was wrong."""
        if not self._lines:
            return
        head = "section [server]: %s" % self._lines[0]
        if len(self._lines) > 1:
            head += " (and %d more)" % (len(self._lines) - 1)
        raise BootError("\n".join([head] + self._lines[1:]))


def use(key, section="[preforkd]"):
    """The usual text for an owned option."""
    return "use %s in section %s" % (key, section)


def collect(options, owned, known, convert, server, aliases=None):
    """Native options from text: {native name: value}.

    owned maps names to what to use instead; known holds the names that the server has;
    convert(name, text) gives the value or raises ValueError or TypeError.
    """
    problems = Problems(server)
    values = {}
    for written, text in options.items():
        name = key_of(written)
        name = (aliases or {}).get(name, name)
        if name in owned:
            problems.owned(written, owned[name])
        elif name not in known:
            problems.unknown(written, known)
        elif name in values:
            problems.add("%s is given twice" % written)
        else:
            try:
                values[name] = convert(name, text)
            except (ValueError, TypeError) as exc:
                problems.bad(written, text, exc)
    problems.check()
    return values
