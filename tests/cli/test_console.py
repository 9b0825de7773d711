"""The output of commands: to terminals, to pipes, as JSON."""

import json
import os
import pty
import re
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import typer

from cli import console
from core.errors import BusyError, ConfigurationError, NotFoundError, RefusedError
from tests.waiting import wait_for_exit

ROOT = Path(__file__).parents[2]
PROGRAM = """
from cli import console
columns = [console.Column("number", no_wrap=True), console.Column("requester", no_wrap=True), console.Column("subject")]
rows = [("BS-000123", "a.rather.long.address@practice.example", "words " * 20), ("BS-000124", "b@c.example", "[red]x\\x1b[2J")]
console.print_table(columns, rows)
with console.show_progress("working") as move:
    move(1, 2)
"""


def run_on_terminal(program: str, columns: int) -> str:
    """Return what a program writes to a terminal of that width."""
    main, child = pty.openpty()
    environ = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-c", program], stdout=child, stderr=child, cwd=ROOT, env=environ)
    os.close(child)
    written = b""
    try:
        while chunk := os.read(main, 65536):
            written += chunk
    except OSError:  # Linux reports EIO when the other end is closed
        pass
    os.close(main)
    assert wait_for_exit(process, 30) == 0, written.decode()
    return written.decode()


def test_terminal_table_fits_80_columns_without_breaking_numbers_and_addresses() -> None:
    written = run_on_terminal(PROGRAM.partition("with console")[0], 80)
    lines = written.replace("\r", "").splitlines()
    assert "a.rather.long.address@practice.example" in written
    assert "BS-000123" in written
    assert written.count("words") == 20
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in lines) <= 80
    assert "\x1b[2J" not in written
    assert "[red]x" in written


def test_narrow_terminal_hides_optional_columns_and_names_them() -> None:
    columns = "[Column('id', no_wrap=True), Column('a', drop_order=1), Column('b', drop_order=2), Column('c')]"
    rows = "[('x' * 20, 'aaaaaaaa', 'bbbbbbbb', 'cccccccc')]"
    program = f"from cli.console import Column, print_table; print_table({columns}, {rows})"
    assert "bbbbbbbb" in run_on_terminal(program, 80)
    written = run_on_terminal(program, 36)
    assert "bbbbbbbb" not in written
    assert "aaaaaaaa" not in written
    assert "x" * 20 + "  cccccccc" in written
    assert "hidden for lack of space: a, b" in written


def test_terminal_shows_a_progress_bar() -> None:
    assert "working" in run_on_terminal(PROGRAM, 80)


def test_pipe_gets_one_line_a_record_without_colour_and_progress_bar() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=ROOT, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert "\x1b" not in done.stdout
    assert lines[1].endswith(("words " * 20).strip())
    assert done.stderr == ""


def test_numbers_are_aligned_right_and_wide_letters_keep_the_columns(capsys: pytest.CaptureFixture[str]) -> None:
    columns = [console.Column("n", align_right=True), console.Column("name"), console.Column("end")]
    console.print_table(columns, [(7, "診療所", "x"), (1234, "clinic", "y")])
    assert capsys.readouterr().out.splitlines() == ["   n  name    end", "   7  診療所  x", "1234  clinic  y"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""), (True, "yes"), (False, "no"), (3, "3"), (["a", None, "b"], "a, , b"), ("two\nlines", "two lines"),
        ("\u202eevil\x07", "evil"), (datetime(2026, 11, 20, 15, 4, 5, tzinfo=UTC), "2026-11-20 15:04"),
    ],
)  # fmt: skip
def test_values_are_printed_on_one_line_without_control_characters(value: object, shown: str) -> None:
    assert console.format_value(value) == shown


def test_record_is_printed_without_empty_fields(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_fields({"number": "BS-000001", "owner": None, "company": "Oak [Hill]"})
    assert capsys.readouterr().out == "number   BS-000001\ncompany  Oak [Hill]\n"


def test_json_has_times_in_iso_8601_and_can_be_parsed(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"at": datetime(2026, 11, 20, tzinfo=UTC), "day": date(2026, 11, 20), "path": Path("x"), "set": {"b", "a"}, "n": "é"}
    console.print_json(value)
    console.print_json_line(value)
    written = capsys.readouterr().out
    line = written.splitlines()[-1]
    assert json.loads(line) == json.loads(written[: -len(line) - 1]) == {
        "at": "2026-11-20T00:00:00+00:00", "day": "2026-11-20", "path": "x", "set": ["a", "b"], "n": "é",
    }  # fmt: skip


def test_json_refuses_a_value_without_a_json_form() -> None:
    with pytest.raises(TypeError):
        console.print_json(object())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("unknown key", file="casemill.toml", key="a.b", hint="remove it"), 2),
        (RefusedError("odd", "that is odd", hint="remove it"), 2),
        (NotFoundError("there is none", hint="remove it"), 1),
        (BusyError("busy", hint="remove it"), 1),
        (FileNotFoundError(2, "No such file or directory", "x.csv"), 1),
    ],
)
def test_expected_error_is_printed_with_its_hint_and_exit_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as caught, console.report_errors():
        raise error
    assert caught.value.exit_code == code
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith("error: ")
    assert isinstance(error, OSError) or "hint: remove it" in written.err


def test_unexpected_error_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), console.report_errors():
        raise ZeroDivisionError
