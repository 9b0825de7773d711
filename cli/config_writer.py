"""The commented casemill.toml that `casemill init` writes: every key there is, from the settings' own classes.

Explanations begin with ``# ``; keys are commented out without the space, so that taking away the ``#`` puts them in force.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from cli.config_help import EXAMPLES, NAMED, WORDS
from core.settings import Settings

WIDTH = 100
_DOCUMENT = re.compile(r" \([^()]*\.md[^()]*\)")
HEAD = """\
The configuration of casemill. Every key there is stands here, commented out with its default (or with an example where
there is none): take away the # before a key, and before the [section] it stands in, to change it.

Secrets are better not written here: "env:NAME" takes one from an environment variable (CASEMILL_SECRET_… are free to
use), "file:/path" from a file.
CASEMILL_DATABASE_URL, _REDIS_URL, _SMTP_URL, _DATA_DIR, _SECRET_KEY and _ENV in the environment override the first keys."""


def write_text() -> str:
    """The file's text."""
    lines = list(_comment(HEAD))
    keys = {name: field for name, field in Settings.model_fields.items() if not _section(field)}
    lines += _keys(Settings, keys)
    for name, field in Settings.model_fields.items():
        model = _section(field)
        if model is not None:
            lines += _section_lines(model, f"{name}.{NAMED[name]}" if name in NAMED else name)
    return "\n".join(lines) + "\n"


def _section_lines(model: type[BaseModel], path: str) -> Iterator[str]:
    """A section with its own keys first, then the sections inside it."""
    inner = {name: _section(field) for name, field in model.model_fields.items()}
    yield from ("", *_comment(_summary(model)), f"#[{path}]")
    yield from _keys(model, {name: field for name, field in model.model_fields.items() if inner[name] is None})
    for name, section in inner.items():
        if section is not None:
            is_list = _is_list(model.model_fields[name])
            lines = list(_section_lines(section, f"{path}.{name}"))
            yield from (f"#[[{path}.{name}]]" if is_list and line == f"#[{path}.{name}]" else line for line in lines)


def _keys(model: type[BaseModel], fields: dict[str, FieldInfo]) -> Iterator[str]:
    for name, field in fields.items():
        yield from ("", *_comment(WORDS[model.__name__][name]))
        if _is_table(field):
            entries = EXAMPLES[model.__name__][name]
            inline = ", ".join(f"{json.dumps(key)} = {_toml(value)}" for key, value in entries.items())
            yield f"#{name} = {{ {inline} }}"
        else:
            yield f"#{name} = {_toml(_value(model, name, field))}"


def _value(model: type[BaseModel], name: str, field: FieldInfo) -> Any:
    """The default, or an example where there is none."""
    example = EXAMPLES.get(model.__name__, {}).get(name)
    return field.get_default(call_default_factory=True) if example is None else example


def _section(field: FieldInfo) -> type[BaseModel] | None:
    """The class of a section, of named sections, or of a list of them; None for a plain key."""
    for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _is_list(field: FieldInfo) -> bool:
    return getattr(field.annotation, "__origin__", None) is list


def _is_table(field: FieldInfo) -> bool:
    return getattr(field.annotation, "__origin__", None) is dict


def _summary(model: type[BaseModel]) -> str:
    """The class's own words, without its references to documents that whoever edits the file does not have."""
    text = _DOCUMENT.sub("", (model.__doc__ or "").replace("``", '"'))
    return " ".join(text.split())


def _comment(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            yield "#"
        yield from (f"# {line}" for line in textwrap.wrap(paragraph, WIDTH, break_on_hyphens=False, break_long_words=False))


def _toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, SecretStr):
        return json.dumps(value.get_secret_value())
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, date | time | datetime):
        return value.isoformat()
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False)
    return str(value)
