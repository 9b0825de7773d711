"""How commands speak: tables for people, JSON for programs, errors with their mend, progress bars on long work.

On a terminal tables fit its width and wrap; piped, every record is one line, without colour and with nothing cut off.
Whatever came from outside is shown as plain text: no markup, no control characters.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from core.errors import CasemillError, ConfigurationError, RefusedError

#: Exit codes (interfaces.md, Command line).
EXIT_OK, EXIT_PROBLEM, EXIT_USAGE = 0, 1, 2

#: Spaces between columns, and from where on a word may be broken.
COLUMN_GAP = 2
MAX_UNBROKEN_WIDTH = 24
_PIPED_WIDTH = 100_000


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. ``whole`` ones (numbers, addresses, dates) are never wrapped, the others between words.

    Where a terminal is too narrow, columns with ``extra`` are left out and named below, those with the highest first.
    """

    name: str
    no_wrap: bool = False
    align_right: bool = False
    drop_order: int = 0


def format_value(value: object) -> str:
    """A value as one line of text that cannot move the cursor or turn the reading direction."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, list | tuple):
        return ", ".join(map(format_value, value))
    spaced = " ".join(str(value).split())
    return "".join(c for c in spaced if unicodedata.category(c) not in ("Cc", "Cf", "Cs"))


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[object]], *, empty: str = "nothing found") -> None:
    """Print rows under their columns, or the sentence ``empty`` when there are none."""
    console = make_console()
    cells = [[format_value(value) for value in row] for row in rows]
    if not cells:
        console.print(Text(empty, style="dim"), soft_wrap=True)
    elif console.is_terminal:
        _print_terminal_table(console, columns, cells)
    else:
        for line in _pipe_lines(columns, cells):
            console.file.write(f"{line}\n")


def _print_terminal_table(console: Console, columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> None:
    needed = [_minimum_width(column, [column.name, *(row[index] for row in cells)]) for index, column in enumerate(columns)]
    shown = list(range(len(columns)))
    while sum(needed[index] + COLUMN_GAP for index in shown) - COLUMN_GAP > console.width:
        least = max(shown, key=lambda index: columns[index].drop_order)
        if not columns[least].drop_order:
            break
        shown.remove(least)
    table = Table(box=None, padding=(0, COLUMN_GAP, 0, 0), pad_edge=False, header_style="bold underline")
    for index in shown:
        column = columns[index]
        table.add_column(
            column.name, no_wrap=column.no_wrap, overflow="fold", justify="right" if column.align_right else "left",
            min_width=needed[index] if column.no_wrap else None,
        )  # fmt: skip
    for row in cells:
        table.add_row(*(Text(row[index]) for index in shown))
    console.print(table)
    if hidden := [column.name for index, column in enumerate(columns) if index not in shown]:
        console.print(Text(f"no room for {', '.join(hidden)}: widen the window, or use --json", style="dim"))


def _minimum_width(column: Column, cells: Sequence[str]) -> int:
    """The width below which a column is hard to read: all of its longest cell, or its longest word."""
    parts = cells if column.no_wrap else [word for cell in cells for word in cell.split()]
    longest = max(map(cell_len, parts), default=0)
    return longest if column.no_wrap else min(longest, MAX_UNBROKEN_WIDTH)


def _pipe_lines(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines for a pipe: columns two spaces apart, no row on two lines."""
    widths = _column_widths(columns, cells)
    for row in ([column.name for column in columns], *cells):
        padded = [
            " " * (width - cell_len(cell)) + cell if column.align_right else cell + " " * (width - cell_len(cell))
            for column, width, cell in zip(columns, widths, row, strict=True)
        ]
        yield "  ".join(padded).rstrip()


def _column_widths(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(cell_len(column.name), *(cell_len(row[index]) for row in cells)) for index, column in enumerate(columns)]


def print_fields(fields: Mapping[str, object]) -> None:
    """One record as ``name  value`` lines; empty values are left out."""
    console = make_console()
    shown = {name: text for name, value in fields.items() if (text := format_value(value))}
    width = max(map(len, shown), default=0)
    for name, text in shown.items():
        console.print(Text.assemble((f"{name:<{width}}", "bold"), "  ", text), soft_wrap=True)


def print_line(text: str, *, style: str = "") -> None:
    """One sentence to standard output; long ones are not cut."""
    make_console().print(Text(text, style=style), soft_wrap=True)


def print_json(value: object) -> None:
    """One JSON document, indented; times in ISO 8601."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=_needs_ascii(), default=_to_json_value) + "\n")


def print_json_line(value: object) -> None:
    """One JSON object on one line, for streams of them."""
    sys.stdout.write(json.dumps(value, ensure_ascii=_needs_ascii(), default=_to_json_value) + "\n")


def print_error(error: CasemillError | str) -> None:
    """An error and its mend to standard error."""
    console = make_console(stderr=True)
    if isinstance(error, ConfigurationError):
        console.print(Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=True)
        return
    text, hint = (error.text, error.hint) if isinstance(error, CasemillError) else (error, "")
    console.print(Text.assemble(("error: ", "bold red"), text), soft_wrap=True)
    if hint:
        console.print(Text(f"  hint: {hint}"), soft_wrap=True)


def exit_with_error(error: CasemillError | str, code: int = EXIT_PROBLEM) -> NoReturn:
    """Print an error and end the command."""
    print_error(error)
    raise typer.Exit(code)


@contextmanager
def report_errors() -> Iterator[None]:
    """Turn expected errors inside into a printed error and an exit code; what is not expected keeps its traceback.

    A configuration that cannot be used and a refused value are wrong usage (2); the rest is something found wrong (1).
    """
    try:
        yield
    except (ConfigurationError, RefusedError) as error:
        exit_with_error(error, EXIT_USAGE)
    except CasemillError as error:
        exit_with_error(error)
    except OSError as error:
        exit_with_error(f"{error.filename or 'a file'}: {error.strerror or type(error).__name__}")


@contextmanager
def show_progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, moved by calling ``(done, total)``; silent when nobody is looking at a terminal."""
    console = make_console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)

        def move(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield move


def make_console(*, stderr: bool = False) -> Console:
    """A console on the streams as they are now; wide enough for anything when piped."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPED_WIDTH
    return Console(stderr=stderr, width=width, highlight=False, emoji=False, markup=False, soft_wrap=False)


def _needs_ascii() -> bool:
    return (sys.stdout.encoding or "ascii").lower().replace("-", "") != "utf8"


def _to_json_value(value: object) -> Any:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def open_editor(text: str) -> str:
    """``text`` as it was saved in $VISUAL, $EDITOR or vi. Raises :class:`ConfigurationError` when there is no such program."""
    import os
    import shlex
    import subprocess
    import tempfile

    from core.errors import ConfigurationError

    program = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "letter.txt"
        path.write_text(text, "utf-8")
        try:
            subprocess.run([*shlex.split(program), str(path)], check=True)
        except (OSError, subprocess.CalledProcessError):
            raise ConfigurationError(f"{program} did not open the text", key="EDITOR", hint="set EDITOR to an editor") from None
        return path.read_text("utf-8")
