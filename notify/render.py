"""Render mailings: a folder of templates and a context become a subject, a text and an HTML page.

A folder has ``subject.txt``, ``body.txt`` and ``body.html``; each extends the file of the same name in ``_base``. The comment
at the top of ``body.txt`` lists the context variables.
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
from core.reply_separator import separator_line

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_PARTS: Final = ("subject.txt", "body.txt", "body.html")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_GAP: Final = re.compile(r"\n{4,}")
_QUOTED_NAME: Final = re.compile(r"'([A-Za-z_]\w*)'(?: is undefined)?$")


class RenderError(CasemillError):
    """A mailing could not be rendered. The text names the mailing and never holds its content."""

    def __init__(self, mailing: str, text: str, *, hint: str = "") -> None:
        super().__init__(f"mailing {mailing}: {text}", hint=hint)
        self.mailing = mailing


class UnknownMailingError(RenderError):
    """The template folder does not exist, or one of its three files is missing."""


class MissingVariableError(RenderError):
    """The templates use a variable that is missing from the context."""

    def __init__(self, mailing: str, variable: str) -> None:
        super().__init__(mailing, f"the variable {variable} is missing from the context")
        self.variable = variable


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered mailing: ``subject`` on one line, ``text`` with LF line ends, ``html`` with its CSS inlined."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class _Templates:
    subject: Template
    text: Template
    html: Template


class Renderer:
    """Renders mailings from a folder of template folders. It compiles each template once; safe to share between threads."""

    def __init__(self, template_dir: Path, *, zone: tzinfo = UTC) -> None:
        """Read templates from ``template_dir``; ``zone`` is the time zone of the ``when`` filter."""
        # By the exact ending: select_autoescape() silently leaves a ".html.j2" unescaped.
        self._environment = Environment(
            loader=FileSystemLoader(template_dir),
            autoescape=lambda name: name is not None and name.endswith(".html"),  # noqa: S701 - on for all that is HTML
            undefined=StrictUndefined,
            finalize=_strip_controls,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals["reply_separator"] = separator_line()
        self._environment.filters["when"] = lambda moment: format_datetime(moment, zone)
        # Applied to the rendered page, where each selector sees its elements; measured at 0.1 ms a page. At-rules stay, for
        # narrow screens. Remote style sheets are never loaded.
        self._inliner = CSSInliner(keep_at_rules=True, load_remote_stylesheets=False)
        self._templates: dict[str, _Templates] = {}

    def render(self, mailing: str, context: Mapping[str, object]) -> Rendered:
        """Render the templates of the folder ``mailing`` with ``context``.

        Raises :class:`UnknownMailingError`, :class:`MissingVariableError`, or :class:`RenderError` for any other fault
        of the templates or the context.
        """
        templates = self._templates.get(mailing) or self._load(mailing)
        try:
            subject = templates.subject.render(context)
            text = templates.text.render(context)
            html = self._inliner.inline(templates.html.render(context))
        except UndefinedError as error:
            raise MissingVariableError(mailing, _find_variable(error)) from None
        except (TemplateError, InlineError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise RenderError(mailing, f"the templates failed with {type(error).__name__}") from None
        return Rendered(one_line(subject), _tidy_text(text), html)

    def _load(self, name: str) -> _Templates:
        if not _NAME.fullmatch(name):
            raise UnknownMailingError("?", "the name of a mailing has lower-case letters, digits and underscores only")
        try:
            loaded = _Templates(*(self._environment.get_template(f"{name}/{part}") for part in _PARTS))
        except TemplateNotFound as error:
            missing = str(error.name)
            hint = f"add {missing} to the template folder"
            raise UnknownMailingError(name, f"the template {missing} does not exist", hint=hint) from None
        except TemplateError as error:
            raise RenderError(name, f"a template cannot be compiled ({type(error).__name__})") from error
        self._templates[name] = loaded
        return loaded


def format_datetime(moment: datetime, zone: tzinfo) -> str:
    """Return an aware datetime in words, such as ``Sunday, November 22, 2026 at 9:14 AM EST``. Raises ValueError if naive."""
    if moment.tzinfo is None:
        raise ValueError("a datetime without a time zone cannot be shown")
    local = moment.astimezone(zone)
    return f"{local:%A, %B} {local.day}, {local.year} at {local.hour % 12 or 12}:{local:%M %p %Z}"


def one_line(text: str) -> str:
    """Return ``text`` on one line: white space and control characters become single spaces."""
    return " ".join(_CONTROLS.sub(" ", text).split())


def _strip_controls(value: object) -> object:
    """Return a printed value without control characters. Markup was built by templates from values stripped before."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _CONTROLS.sub("", value)
    return value


def _tidy_text(text: str) -> str:
    """Remove trailing blanks and more than two empty lines in a row; end with one line end."""
    lines = "\n".join(map(str.rstrip, text.splitlines()))
    return _GAP.sub("\n\n\n", lines).strip("\n") + "\n"


def _find_variable(error: UndefinedError) -> str:
    match = _QUOTED_NAME.search(error.message or "")
    return match[1] if match else "?"
