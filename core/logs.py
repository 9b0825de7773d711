"""Logs: an allow-list of ids, sizes, hashes and reason codes (security.md, rule 16).

The event is the constant text of the call, never interpolated; values go into ``extra`` under a name of :data:`FIELDS`.
An exception is logged by its type and the locations of its traceback, never by its text, which may quote a message. Of records
of other libraries only level and location are logged, because their texts may contain anything.
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
#: Fields a log line may have besides time, level, logger and event: ids, counts, sizes, hashes and codes.
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
#: Codes, ids, hashes, addresses with a port. Without space and @, a value is neither a sentence nor a mail address.
_CODE: Final = re.compile(r"[\w.:/\[\]+=*{}-]{0,160}", re.ASCII)
_WITHHELD: Final = "withheld"
_RECORD_ATTRIBUTES: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_MAX_FRAMES: Final = 8
_MAX_CAUSES: Final = 4
_MAX_LIST_ITEMS: Final = 20

Style = Literal["auto", "json", "text"]


def configure(*, style: Style = "auto", level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Send all log records of the process to ``stream``, by default standard error.

    ``style`` "json" writes JSON lines, "text" readable lines; "auto" writes text to a terminal and JSON elsewhere. Uncaught
    exceptions of threads and of the process are logged the same way. A later call replaces an earlier one.
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
    threading.excepthook = _log_thread_crash
    sys.excepthook = _log_process_crash


def describe_exception(error: BaseException) -> dict[str, Any]:
    """Return type, traceback locations (innermost last), types of the causes and SQLSTATE of an exception; no text of it."""
    described: dict[str, Any] = {"type": _type_name(error), "places": traceback_locations(error)}
    causes = _causes(error)
    if causes:
        described["causes"] = [_type_name(cause) for cause in causes]
    states = [getattr(getattr(one, "orig", None), "sqlstate", None) for one in (error, *causes)]
    if any(states):
        described["sqlstate"] = next(state for state in states if state)
    return described


def traceback_locations(error: BaseException) -> list[str]:
    """Return the last frames of a traceback as ``folder/file.py:line function``, without source text and values."""
    frames = traceback.walk_tb(error.__traceback__)
    return [_location(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in frames][-_MAX_FRAMES:]


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object a line: ``time``, ``level``, ``logger``, ``event``, fields, ``exception``."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(record_fields(record), ensure_ascii=True, separators=(",", ":"))


class TextFormatter(logging.Formatter):
    """Formats a record as one readable line: time, level, logger, event, then ``name=value``."""

    def format(self, record: logging.LogRecord) -> str:
        fields = record_fields(record)
        time, level, logger, event = (str(fields.pop(name)) for name in ("time", "level", "logger", "event"))
        exception = fields.pop("exception", None)
        line = f"{time[11:23]} {level:<8}{logger.removeprefix(LOGGER_NAME + '.'):<12} {event}"
        line += "".join(f" {name}={value}" for name, value in fields.items())
        if exception:
            line += f" exception={exception['type']} at {' > '.join(exception['places'][-3:])}"
        return line


def record_fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the allowed fields of ``record`` by name."""
    is_own = record.name == LOGGER_NAME or record.name.startswith(LOGGER_NAME + ".")
    fields: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": str(record.msg) if is_own else "library log record",
    }
    if is_own:
        fields |= _allowed_fields(record.__dict__)
    else:
        fields["place"] = _location(record.pathname, record.lineno, record.funcName or "")
    if record.exc_info and record.exc_info[1] is not None:
        fields["exception"] = describe_exception(record.exc_info[1])
    return fields


def _allowed_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    extra = {name: value for name, value in values.items() if name not in _RECORD_ATTRIBUTES}
    fields = {name: _safe_value(value) for name, value in extra.items() if name in FIELDS}
    # A name that is not on the list is a mistake in the code. Logging the name without its value lets a developer find it.
    unknown = sorted(name for name in extra if name not in FIELDS)
    return fields | ({_WITHHELD: unknown} if unknown else {})


def _safe_value(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if _CODE.fullmatch(value) else _WITHHELD
    if isinstance(value, list | tuple | set | frozenset):
        return [_safe_value(item) for item in list(value)[:_MAX_LIST_ITEMS]]
    return _WITHHELD


def _causes(error: BaseException) -> list[BaseException]:
    causes: list[BaseException] = []
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    while cause is not None and len(causes) < _MAX_CAUSES:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    return causes


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _location(file: str, line: int | None, function: str) -> str:
    path = Path(file)
    return f"{path.parent.name}/{path.name}:{line or 0} {function}"


def _log_thread_crash(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        name = args.thread.name if args.thread else ""
        logging.getLogger(LOGGER_NAME).critical("thread crashed", exc_info=args.exc_value, extra={"worker": name})


def _log_process_crash(kind: type[BaseException], error: BaseException, trace: object) -> None:
    if not isinstance(error, KeyboardInterrupt):
        logging.getLogger(LOGGER_NAME).critical("process crashed", exc_info=error)
