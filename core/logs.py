"""Logs: an allow-list of ids, sizes, hashes and reason codes (security.md, rule 16).

The event is the constant text of the call, never interpolated; values go into ``extra`` under a name of :data:`FIELDS`.
An exception is told by its type and the places it passed through, never by its text: that may quote a message. Of other
libraries' records only the level and the place are kept, because nobody knows what they put into their texts.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TextIO

LOGGER_NAME: Final = "casemill"
#: What may stand in a line besides time, level, logger and event: ids, counts, sizes, hashes and codes.
FIELDS: Final = frozenset(
    {
        "activity", "address", "attempt", "attempts", "bytes", "code", "company", "contact", "count", "delivery",
        "disposition", "drain", "due", "error", "errors", "fact", "family", "file", "folder", "form", "from_uid", "hash",
        "hint", "host", "item", "items", "key", "kind", "known", "lease", "left_out", "limit", "line", "mailbox", "mailing",
        "method", "outcome", "parent", "pid", "place", "port", "queue", "reason", "route", "row", "rows", "seconds",
        "settled", "sha256", "since", "size", "source", "staff", "stage", "state", "status", "stored", "submission", "sweep",
        "taken", "task", "team", "ticket", "tickets", "uid", "uidvalidity", "url_path", "version", "waiting", "worker",
    }
)  # fmt: skip
#: Codes, ids, hashes, addresses with a port: no space, no @, so neither a sentence nor a person fits in.
_CODE: Final = re.compile(r"[\w.:/\[\]+=*{}-]{0,160}", re.ASCII)
_WITHHELD: Final = "withheld"
_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_FRAMES: Final = 8
_CAUSES: Final = 4

Style = Literal["auto", "json", "text"]


def configure(*, style: Style = "auto", level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Send all records of the process to ``stream`` (standard error), as JSON lines or readable lines (auto: a terminal).

    Uncaught exceptions of threads and of the process are logged the same way. May be called again; the last call holds.
    """
    stream = stream or sys.stderr
    readable = style == "text" or (style == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter() if readable else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(LOGGER_NAME).setLevel(level)
    logging.captureWarnings(True)
    threading.excepthook = _log_thread_death
    sys.excepthook = _log_process_death


def describe_exception(error: BaseException) -> dict[str, Any]:
    """An exception as type, the types of its causes, the places it passed (innermost last) and a database's SQLSTATE."""
    told: dict[str, Any] = {"type": _type_name(error), "places": traceback_locations(error)}
    causes = _causes(error)
    if causes:
        told["causes"] = [_type_name(cause) for cause in causes]
    states = [getattr(getattr(one, "orig", None), "sqlstate", None) for one in (error, *causes)]
    if any(states):
        told["sqlstate"] = next(state for state in states if state)
    return told


def traceback_locations(error: BaseException) -> list[str]:
    """The last frames of a traceback as ``file.py:line function``; no source text and no values."""
    frames = traceback.walk_tb(error.__traceback__)
    return [_place(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in frames][-_FRAMES:]


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``event``, then fields, then ``exception``."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(record_fields(record), ensure_ascii=True, separators=(",", ":"))


class TextFormatter(logging.Formatter):
    """One line for people: time, level, logger, event, then ``name=value``."""

    def format(self, record: logging.LogRecord) -> str:
        told = record_fields(record)
        time, level, logger, event = (str(told.pop(name)) for name in ("time", "level", "logger", "event"))
        exception = told.pop("exception", None)
        line = f"{time[11:23]} {level:<8}{logger.removeprefix(LOGGER_NAME + '.'):<12} {event}"
        line += "".join(f" {name}={value}" for name, value in told.items())
        if exception:
            line += f" exception={exception['type']} at {' > '.join(exception['places'][-3:])}"
        return line


def record_fields(record: logging.LogRecord) -> dict[str, Any]:
    """What may be told of a record."""
    own = record.name == LOGGER_NAME or record.name.startswith(LOGGER_NAME + ".")
    told: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": str(record.msg) if own else "said by a library",
    }
    if own:
        told |= _fields(record.__dict__)
    else:
        told["place"] = _place(record.pathname, record.lineno, record.funcName or "")
    if record.exc_info and record.exc_info[1] is not None:
        told["exception"] = describe_exception(record.exc_info[1])
    return told


def _fields(values: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in values.items() if name not in _STANDARD}
    fields = {name: _safe(value) for name, value in given.items() if name in FIELDS}
    # A name that is not on the list is a mistake in the code: said by name, so that it is found and mended.
    unknown = sorted(name for name in given if name not in FIELDS)
    return fields | ({_WITHHELD: unknown} if unknown else {})


def _safe(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if _CODE.fullmatch(value) else _WITHHELD
    if isinstance(value, list | tuple | set | frozenset):
        return [_safe(one) for one in list(value)[:20]]
    return _WITHHELD


def _causes(error: BaseException) -> list[BaseException]:
    causes: list[BaseException] = []
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    while cause is not None and len(causes) < _CAUSES:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    return causes


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _place(file: str, line: int | None, function: str) -> str:
    path = Path(file)
    return f"{path.parent.name}/{path.name}:{line or 0} {function}"


def _log_thread_death(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        name = args.thread.name if args.thread else ""
        logging.getLogger(LOGGER_NAME).critical("a thread died", exc_info=args.exc_value, extra={"worker": name})


def _log_process_death(kind: type[BaseException], error: BaseException, trace: object) -> None:
    if not isinstance(error, KeyboardInterrupt):
        logging.getLogger(LOGGER_NAME).critical("the process died", exc_info=error)
