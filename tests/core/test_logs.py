"""Logs hold ids, sizes, hashes and codes; never text of a message, whoever logs it."""

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

CANARY = "canary-7731 Dana Ortiz dana@riverside.example"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Logging configured to JSON lines in memory, and put back as it was."""
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


def test_a_line_holds_time_level_event_and_listed_fields(stream: io.StringIO) -> None:
    logging.getLogger("casemill.ingest").info("items settled", extra={"count": 3, "sha256": "ab" * 32, "code": "no_sender"})
    (line,) = read(stream)
    assert str(line.pop("time")).endswith("+00:00")
    assert line == {
        "level": "info", "logger": "casemill.ingest", "event": "items settled", "count": 3, "sha256": "ab" * 32,
        "code": "no_sender",
    }  # fmt: skip


def test_a_field_that_is_not_listed_is_withheld_and_named(stream: io.StringIO) -> None:
    logging.getLogger("casemill").info("a mail came", extra={"subject": CANARY, "item": 7})
    (line,) = read(stream)
    assert line["withheld"] == ["subject"]
    assert line["item"] == 7
    assert "canary" not in stream.getvalue()


@pytest.mark.parametrize(
    "value", [CANARY, "Dana Ortiz", "dana@riverside.example", "a\nb", "x" * 500, b"bytes", {"a": CANARY}, [CANARY]]
)
def test_a_listed_field_takes_no_sentence_and_no_person(stream: io.StringIO, value: object) -> None:
    logging.getLogger("casemill").info("a mail came", extra={"reason": value})
    (line,) = read(stream)
    assert line["reason"] in ("withheld", ["withheld"])


def test_arguments_are_never_put_into_the_text(stream: io.StringIO) -> None:
    logging.getLogger("casemill").info("a mail came from %s", CANARY)
    assert read(stream)[0]["event"] == "a mail came from %s"
    assert "canary" not in stream.getvalue()


def test_an_exception_is_told_by_type_and_place_and_never_by_value(stream: io.StringIO) -> None:
    try:
        try:
            raise KeyError(CANARY)
        except KeyError as error:
            raise ValueError(f"cannot read {CANARY}") from error
    except ValueError:
        logging.getLogger("casemill").exception("parsing failed", extra={"item": 1})
    (line,) = read(stream)
    told = line["exception"]
    assert isinstance(told, dict)
    assert told["type"] == "ValueError"
    assert told["causes"] == ["KeyError"]
    assert told["places"][-1].startswith("core/test_logs.py:")
    assert "canary" not in stream.getvalue()


def test_other_libraries_are_heard_by_level_and_place_only(stream: io.StringIO) -> None:
    logging.getLogger("imapclient").warning("got %s", CANARY)
    logging.getLogger("imapclient").info("not heard at all")
    (line,) = read(stream)
    assert line["event"] == "library log record"
    assert line["logger"] == "imapclient"
    assert str(line["place"]).startswith("core/test_logs.py:")
    assert "canary" not in stream.getvalue()


def test_a_thread_that_dies_is_logged_without_its_words(stream: io.StringIO) -> None:
    def die() -> None:
        raise RuntimeError(CANARY)

    thread = threading.Thread(target=die, name="watch-support")
    thread.start()
    thread.join()
    (line,) = read(stream)
    assert (line["event"], line["level"], line["worker"]) == ("thread crashed", "critical", "watch-support")
    assert "canary" not in stream.getvalue()


def test_a_process_that_dies_says_where_and_not_what() -> None:
    code = f"from core import logs; logs.configure(style='text'); raise RuntimeError({CANARY!r})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert "process crashed" in ended.stderr
    assert "RuntimeError" in ended.stderr
    assert "canary" not in ended.stderr


def test_readable_lines_say_the_same(stream: io.StringIO) -> None:
    logs.configure(style="text", stream=stream)
    logging.getLogger("casemill.web").warning("a post was refused", extra={"form": "55", "code": "bad_json", "subject": CANARY})
    line = stream.getvalue()
    assert "web" in line
    assert "a post was refused form=55 code=bad_json" in line
    assert "canary" not in line


def test_configuring_again_does_not_double_the_lines(stream: io.StringIO) -> None:
    logs.configure(style="json", stream=stream)
    logging.getLogger("casemill").info("once")
    assert len(read(stream)) == 1


def test_no_listed_field_is_one_that_logging_refuses(stream: io.StringIO) -> None:
    logging.getLogger("casemill").info("all fields", extra=dict.fromkeys(logs.FIELDS, 1))
    assert set(read(stream)[0]) >= logs.FIELDS
