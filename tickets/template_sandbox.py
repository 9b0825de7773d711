"""Fill texts with placeholders, which staff edit, in a sandbox.

What staff edit is data: a template holds placeholders and conditions, and no expression that computes. A placeholder without a
value stays in the text as it is written, so that the writer sees it and cannot send the message before it is filled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from jinja2 import Template, TemplateError, Undefined, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from core.errors import RefusedError

MAX_TEMPLATE_CHARACTERS: Final = 20_000
_OPENS: Final = re.compile(r"\{[{%#]")
_CLOSES: Final = re.compile(r"[%#}]\}")
#: How many characters of a placeholder that is not closed an error shows.
_SHOWN_CHARACTERS: Final = 40
_ALLOWED: Final = (nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Getattr, nodes.If, nodes.Not)
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class FilledTemplate:
    """Subject and text of a template with the values inserted; ``unfilled`` names the placeholders without a value."""

    subject: str
    text: str
    unfilled: tuple[str, ...]


class _Missing(Undefined):
    """A placeholder without a value: renders as it is written, and is false in a condition."""

    def __str__(self) -> str:
        return f"{{{{ {self._undefined_name} }}}}"

    def __bool__(self) -> bool:
        return False


class _Value(str):
    """A value with the path of its placeholder."""

    path = ""

    @classmethod
    def at(cls, path: str, text: str) -> _Value:
        value = cls(text)
        value.path = path
        return value


class _Values(dict[str, _Value]):
    """One group of values, with its name for the placeholders that are missing in it."""

    def __init__(self, name: str, values: Mapping[str, str]) -> None:
        super().__init__({key: _Value.at(f"{name}.{key}", text) for key, text in values.items() if text.strip()})
        self.name = name

    def __str__(self) -> str:
        """Render as an unfilled placeholder: a group alone has no value."""
        return f"{{{{ {self.name} }}}}"


class _Environment(ImmutableSandboxedEnvironment):
    """An environment without globals, filters and arithmetic; the only attributes are the keys of a group of values."""

    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        raise TemplateError("a template cannot compute")

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, _Values):
            return obj.get(attribute, _Missing(name=f"{obj.name}.{attribute}"))
        path = obj.path if isinstance(obj, _Value) else getattr(obj, "_undefined_name", "")
        return _Missing(name=f"{path}.{attribute}")


def _make_environment() -> _Environment:
    environment = _Environment(undefined=_Missing, keep_trailing_newline=True, finalize=_printable)
    environment.globals.clear()
    environment.filters.clear()
    environment.tests.clear()
    return environment


def _printable(value: object) -> object:
    return _CONTROLS.sub("", value) if isinstance(value, str) else value


_ENVIRONMENT: Final = _make_environment()


def check(subject: str, text: str) -> None:
    """Raise :class:`RefusedError` for a template that is too long, empty, or holds more than placeholders and ``if``."""
    if not subject.strip() or not text.strip():
        raise RefusedError("empty_template", "a template needs a subject and a text")
    if "\n" in subject.strip():
        raise RefusedError("bad_template", "the subject has more than one line", hint="write it on one line")
    if len(subject) + len(text) > MAX_TEMPLATE_CHARACTERS:
        raise RefusedError("too_long", f"a template has at most {MAX_TEMPLATE_CHARACTERS} characters")
    for part in (subject, text):
        _compile(part)


def fill(subject: str, text: str, values: Mapping[str, Mapping[str, str] | str]) -> FilledTemplate:
    """Return the template filled with ``values``: groups of values by name, and single ones.

    Raises :class:`RefusedError` as :func:`check` does.
    """
    check(subject, text)
    context: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            context[name] = _Values(name, value)
        elif value.strip():
            context[name] = _Value.at(name, value)
    try:
        filled = [_compile(part).render(context) for part in (subject, text)]
    except TemplateError as error:
        raise RefusedError("bad_template", f"the template cannot be filled ({type(error).__name__})") from None
    return FilledTemplate(" ".join(filled[0].split()), filled[1].strip() + "\n", find_unfilled(*filled))


def find_unfilled(subject: str, text: str) -> tuple[str, ...]:
    """Return the placeholders left in a text, each once, in order, including one that is opened and not closed."""
    return tuple(dict.fromkeys(name for part in (subject, text) for name in _find_placeholders(part)))


def _find_placeholders(text: str) -> Iterator[str]:
    """Find placeholders by two scans that only go forward: one pattern for both takes cubic time on a run of blanks."""
    at = 0
    while (opened := _OPENS.search(text, at)) is not None:
        closed = _CLOSES.search(text, opened.end())
        if closed is None:
            yield text[opened.end() : opened.end() + _SHOWN_CHARACTERS].strip()
            return
        yield text[opened.end() : closed.start()].strip()
        at = closed.end()


def _compile(source: str) -> Template:
    try:
        tree = _ENVIRONMENT.parse(source)
    except TemplateError as error:
        raise RefusedError("bad_template", f"line {getattr(error, 'lineno', 1)} cannot be read", hint=_HINT) from None
    for node in tree.find_all(nodes.Node):
        if not isinstance(node, _ALLOWED):
            raise RefusedError(
                "bad_template", f"line {node.lineno}: {type(node).__name__} is not allowed in a template", hint=_HINT
            )
    return _ENVIRONMENT.from_string(source)


_HINT: Final = "use placeholders such as {{ contact.name }}, and {% if contact.name %} … {% endif %}"
