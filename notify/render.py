"""Mailings: a folder of templates and a context become a subject, a text and an HTML page.

A mailing is a folder with ``subject.txt``, ``body.txt`` and ``body.html``, each extending its namesake in ``_base``.
The comment that opens ``body.txt`` names the context variables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Final

from css_inline import CSSInliner, InlineError
from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    Template,
    TemplateError,
    TemplateNotFound,
    UndefinedError,
)
from markupsafe import Markup

from core.errors import CasemillError
from core.reply_separator import marker_line

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_PARTS: Final = ("subject.txt", "body.txt", "body.html")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_GAP: Final = re.compile(r"\n{4,}")
_QUOTED_NAME: Final = re.compile(r"'([A-Za-z_]\w*)'(?: is undefined)?$")


class RenderError(CasemillError):
    """A mailing could not be rendered. Names the mailing and never holds what it was to say."""

    def __init__(self, mailing: str, text: str, *, hint: str = "") -> None:
        super().__init__(f"mailing {mailing}: {text}", hint=hint)
        self.mailing = mailing


class UnknownMailingError(RenderError):
    """There is no such folder of templates, or one of its three files is missing."""


class MissingVariableError(RenderError):
    """The templates ask for a variable which the context lacks."""

    def __init__(self, mailing: str, variable: str) -> None:
        super().__init__(mailing, f"the variable {variable} is missing from the context")
        self.variable = variable


@dataclass(frozen=True, slots=True)
class Rendered:
    """``subject`` is one line without control characters; ``text`` has LF line ends; ``html`` has its CSS inlined."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class _Mailing:
    subject: Template
    text: Template
    html: Template


class Renderer:
    """Renders mailings from a folder of template folders. Templates are compiled once; safe to share by threads."""

    def __init__(self, template_dir: Path, *, zone: tzinfo = UTC) -> None:
        """``zone`` is the one in which the ``when`` filter shows moments."""
        # Autoescape goes by the exact ending: select_autoescape() would leave a ".html.j2" unescaped without a word.
        self._environment = Environment(
            loader=FileSystemLoader(template_dir),
            autoescape=lambda name: name is not None and name.endswith(".html"),  # noqa: S701 - on for all that is HTML
            undefined=StrictUndefined,
            finalize=_printable,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals["reply_marker"] = marker_line()
        self._environment.filters["when"] = lambda moment: spell_moment(moment, zone)
        # On the finished page: 0.1 ms each, and the only place where selectors see what they select. Nothing remote is
        # ever loaded. At-rules stay, for narrow screens.
        self._inliner = CSSInliner(keep_at_rules=True, load_remote_stylesheets=False)
        self._mailings: dict[str, _Mailing] = {}

    def render(self, mailing: str, context: Mapping[str, object]) -> Rendered:
        """Render one mailing.

        Raises :class:`UnknownMailingError`, :class:`MissingVariableError`, or :class:`RenderError` for any other fault
        of the templates or their context.
        """
        templates = self._mailings.get(mailing) or self._load(mailing)
        try:
            subject = templates.subject.render(context)
            text = templates.text.render(context)
            html = self._inliner.inline(templates.html.render(context))
        except UndefinedError as error:
            raise MissingVariableError(mailing, _variable_of(error)) from None
        except (TemplateError, InlineError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise RenderError(mailing, f"the templates failed with {type(error).__name__}") from None
        return Rendered(one_line(subject), _tidy_text(text), html)

    def _load(self, name: str) -> _Mailing:
        if not _NAME.fullmatch(name):
            raise UnknownMailingError("?", "a mailing is named by small letters, digits and underscores")
        try:
            loaded = _Mailing(*(self._environment.get_template(f"{name}/{part}") for part in _PARTS))
        except TemplateNotFound as error:
            missing = str(error.name)
            hint = f"add {missing} to the template folder"
            raise UnknownMailingError(name, f"the template {missing} does not exist", hint=hint) from None
        except TemplateError as error:
            raise RenderError(name, f"a template cannot be compiled ({type(error).__name__})") from error
        self._mailings[name] = loaded
        return loaded


def spell_moment(moment: datetime, zone: tzinfo) -> str:
    """An aware datetime as people write it: ``Sunday, November 22, 2026 at 9:14 AM EST``. Raises ValueError if naive."""
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone cannot be shown")
    local = moment.astimezone(zone)
    return f"{local:%A, %B} {local.day}, {local.year} at {local.hour % 12 or 12}:{local:%M %p %Z}"


def one_line(text: str) -> str:
    """``text`` on one line: white space and control characters become single spaces."""
    return " ".join(_CONTROLS.sub(" ", text).split())


def _printable(value: object) -> object:
    """What a template prints, without control characters. Markup is what templates made, from values cleaned before."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _CONTROLS.sub("", value)
    return value


def _tidy_text(text: str) -> str:
    """No trailing blanks, at most two empty lines in a row, one line end at the end."""
    lines = "\n".join(map(str.rstrip, text.splitlines()))
    return _GAP.sub("\n\n\n", lines).strip("\n") + "\n"


def _variable_of(error: UndefinedError) -> str:
    match = _QUOTED_NAME.search(error.message or "")
    return match[1] if match else "?"
