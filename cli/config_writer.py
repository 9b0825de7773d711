"""The commented casemill.toml that `casemill init` writes: every key of the settings classes, with its explanation.

Explanations begin with ``# ``. Keys are commented out without the space, so that a key is set when its ``#`` is removed.
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

from cli.config_help import EXAMPLE_NAMES, KEY_EXAMPLES, KEY_HELP
from core.settings import Settings

LINE_WIDTH = 100
_DOCUMENT_REFERENCE = re.compile(r" \([^()]*\.md[^()]*\)")
INTRODUCTION = """\
The configuration of casemill. This file contains every key, commented out, with its default value, or with an example
where there is no default. To set a key, remove the # before it and before the [section] above it.

Do not write secrets into this file: "env:NAME" reads one from an environment variable (names that begin with
CASEMILL_SECRET_ are reserved for this), "file:/path" reads one from a file.
The environment variables CASEMILL_DATA_DIR, CASEMILL_DATABASE_URL, CASEMILL_REDIS_URL, CASEMILL_SMTP_URL,
CASEMILL_SECRET_KEY and CASEMILL_ENV override the keys of the same names."""


def render_config() -> str:
    """Return the text of the file."""
    lines = list(_comment_lines(INTRODUCTION))
    keys = {name: field for name, field in Settings.model_fields.items() if not _section_class(field)}
    lines += _key_lines(Settings, keys)
    for name, field in Settings.model_fields.items():
        model = _section_class(field)
        if model is not None:
            lines += _section_lines(model, f"{name}.{EXAMPLE_NAMES[name]}" if name in EXAMPLE_NAMES else name)
    return "\n".join(lines) + "\n"


def _section_lines(model: type[BaseModel], path: str) -> Iterator[str]:
    """Yield the lines of a section: its own keys first, then the sections inside it."""
    inner = {name: _section_class(field) for name, field in model.model_fields.items()}
    yield from ("", *_comment_lines(_section_help(model)), f"#[{path}]")
    yield from _key_lines(model, {name: field for name, field in model.model_fields.items() if inner[name] is None})
    for name, section in inner.items():
        if section is not None:
            is_list = _is_list(model.model_fields[name])
            lines = list(_section_lines(section, f"{path}.{name}"))
            yield from (f"#[[{path}.{name}]]" if is_list and line == f"#[{path}.{name}]" else line for line in lines)


def _key_lines(model: type[BaseModel], fields: dict[str, FieldInfo]) -> Iterator[str]:
    for name, field in fields.items():
        yield from ("", *_comment_lines(KEY_HELP[model.__name__][name]))
        if _is_table(field):
            entries = KEY_EXAMPLES[model.__name__][name]
            inline = ", ".join(f"{json.dumps(key)} = {_to_toml(value)}" for key, value in entries.items())
            yield f"#{name} = {{ {inline} }}"
        else:
            yield f"#{name} = {_to_toml(_default_or_example(model, name, field))}"


def _default_or_example(model: type[BaseModel], name: str, field: FieldInfo) -> Any:
    """Return the default, or an example where there is none."""
    example = KEY_EXAMPLES.get(model.__name__, {}).get(name)
    return field.get_default(call_default_factory=True) if example is None else example


def _section_class(field: FieldInfo) -> type[BaseModel] | None:
    """Return the class of a section, of named sections, or of a list of sections; None for a plain key."""
    for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _is_list(field: FieldInfo) -> bool:
    return getattr(field.annotation, "__origin__", None) is list


def _is_table(field: FieldInfo) -> bool:
    return getattr(field.annotation, "__origin__", None) is dict


def _section_help(model: type[BaseModel]) -> str:
    """Return the docstring of a section's class, without references to documents, which an installation does not have."""
    text = _DOCUMENT_REFERENCE.sub("", (model.__doc__ or "").replace("``", '"'))
    return " ".join(text.split())


def _comment_lines(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            yield "#"
        yield from (f"# {line}" for line in textwrap.wrap(paragraph, LINE_WIDTH, break_on_hyphens=False, break_long_words=False))


def _to_toml(value: Any) -> str:
    """Return a value in TOML syntax."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, SecretStr):
        return json.dumps(value.get_secret_value())
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_to_toml, value))}]"
    if isinstance(value, date | time | datetime):
        return value.isoformat()
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False)
    return str(value)
