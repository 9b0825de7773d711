"""Logs contain ids, sizes, hashes and codes, never text of a message, whichever library logs."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from core import logs
from tests.waiting import scale_budget

CANARY = "canary-7731 Dana Ortiz dana@riverside.example"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Logging to JSON lines in memory, restored after the test."""
    root, own = logging.getLogger(), logging.getLogger("casemill")
    before = (root.handlers[:], root.level, own.level, threading.excepthook, sys.excepthook)
    stream = io.StringIO()
    logs.configure(style="json", stream=stream)
    yield stream
    logging.captureWarnings(False)
    root.handlers[:], threading.excepthook, sys.excepthook = before[0], before[3], before[4]
    root.setLevel(before[1])
    own.setLevel(before[2])


def read(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_line_has_time_level_event_and_allowed_fields(stream: io.StringIO) -> None:
    logging.getLogger("casemill.ingest").info("items settled", extra={"count": 3, "sha256": "ab" * 32, "code": "no_sender"})
    (line,) = read(stream)
    assert str(line.pop("time")).endswith("+00:00")
    assert line == {
        "level": "info", "logger": "casemill.ingest", "event": "items settled", "count": 3, "sha256": "ab" * 32,
        "code": "no_sender",
    }  # fmt: skip


def test_field_that_is_not_allowed_is_withheld_and_named(stream: io.StringIO) -> None:
    logging.getLogger("casemill").info("mail received", extra={"subject": CANARY, "item": 7})
    (line,) = read(stream)
    assert line["withheld"] == ["subject"]
    assert line["item"] == 7
    assert "canary" not in stream.getvalue()


@pytest.mark.parametrize(
    "value", [CANARY, "Dana Ortiz", "dana@riverside.example", "a\nb", "x" * 500, b"bytes", {"a": CANARY}, [CANARY]]
)
def test_allowed_field_takes_no_sentence_and_no_person(stream: io.StringIO, value: object) -> None:
    logging.getLogger("casemill").info("mail received", extra={"reason": value})
    (line,) = read(stream)
    assert line["reason"] in ("withheld", ["withheld"])


def test_arguments_are_not_interpolated_into_the_event(stream: io.StringIO) -> None:
    logging.getLogger("casemill").info("mail received from %s", CANARY)
    assert read(stream)[0]["event"] == "mail received from %s"
    assert "canary" not in stream.getvalue()


def test_exception_is_logged_by_type_and_location_without_text(stream: io.StringIO) -> None:
    try:
        try:
            raise KeyError(CANARY)
        except KeyError as error:
            raise ValueError(f"cannot read {CANARY}") from error
    except ValueError:
        logging.getLogger("casemill").exception("parsing failed", extra={"item": 1})
    (line,) = read(stream)
    exception = line["exception"]
    assert isinstance(exception, dict)
    assert exception["type"] == "ValueError"
    assert exception["causes"] == ["KeyError"]
    assert exception["places"][-1].startswith("core/test_logs.py:")
    assert "canary" not in stream.getvalue()


def test_records_of_libraries_are_logged_by_level_and_location_only(stream: io.StringIO) -> None:
    logging.getLogger("imapclient").warning("got %s", CANARY)
    logging.getLogger("imapclient").info("below the level")
    (line,) = read(stream)
    assert line["event"] == "library log record"
    assert line["logger"] == "imapclient"
    assert str(line["place"]).startswith("core/test_logs.py:")
    assert "canary" not in stream.getvalue()


def test_crashed_thread_is_logged_without_text_of_the_exception(stream: io.StringIO) -> None:
    def crash() -> None:
        raise RuntimeError(CANARY)

    thread = threading.Thread(target=crash, name="watch-support")
    thread.start()
    thread.join()
    (line,) = read(stream)
    assert (line["event"], line["level"], line["worker"]) == ("thread crashed", "critical", "watch-support")
    assert "canary" not in stream.getvalue()


def test_crashed_process_is_logged_without_text_of_the_exception() -> None:
    code = f"from core import logs; logs.configure(style='text'); raise RuntimeError({CANARY!r})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=scale_budget(30), check=False)
    assert ended.returncode == 1
    assert "process crashed" in ended.stderr
    assert "RuntimeError" in ended.stderr
    assert "canary" not in ended.stderr


def test_text_lines_have_the_same_fields(stream: io.StringIO) -> None:
    logs.configure(style="text", stream=stream)
    logging.getLogger("casemill.web").warning("form post refused", extra={"form": "55", "code": "bad_json", "subject": CANARY})
    line = stream.getvalue()
    assert "web" in line
    assert "form post refused form=55 code=bad_json" in line
    assert "canary" not in line


def test_configuring_twice_does_not_double_the_lines(stream: io.StringIO) -> None:
    logs.configure(style="json", stream=stream)
    logging.getLogger("casemill").info("once")
    assert len(read(stream)) == 1


def test_logging_accepts_every_allowed_field(stream: io.StringIO) -> None:
    logging.getLogger("casemill").info("all fields", extra=dict.fromkeys(logs.FIELDS, 1))
    assert set(read(stream)[0]) >= logs.FIELDS
