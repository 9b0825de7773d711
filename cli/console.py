"""The output of commands: tables, JSON, errors with a hint, and progress bars.

On a terminal, tables fit its width and wrap. In a pipe, every record is one line, without colour and with nothing cut off.
Text from outside is printed without markup and without control characters.
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

#: Spaces between columns, and the width from which a word may be broken.
COLUMN_GAP = 2
MAX_UNBROKEN_WIDTH = 24
_PIPED_WIDTH = 100_000


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: ``no_wrap`` for numbers, addresses and dates; the others wrap between words.

    When the terminal is too narrow, columns with a ``drop_order`` are left out, the highest first, and named below the table.
    """

    name: str
    no_wrap: bool = False
    align_right: bool = False
    drop_order: int = 0


def format_value(value: object) -> str:
    """Return a value as one line of text, without characters that move the cursor or change the reading direction."""
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
    """Print a table, or the sentence ``empty`` when there are no rows."""
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
        last = max(shown, key=lambda index: columns[index].drop_order)
        if not columns[last].drop_order:
            break
        shown.remove(last)
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
        console.print(Text(f"hidden for lack of space: {', '.join(hidden)}. Widen the window, or use --json", style="dim"))


def _minimum_width(column: Column, cells: Sequence[str]) -> int:
    """Return the width below which a column is hard to read: that of its longest cell, or of its longest word."""
    parts = cells if column.no_wrap else [word for cell in cells for word in cell.split()]
    longest = max(map(cell_len, parts), default=0)
    return longest if column.no_wrap else min(longest, MAX_UNBROKEN_WIDTH)


def _pipe_lines(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table for a pipe: columns two spaces apart, each row on one line."""
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
    """Print one record as lines of ``name  value``, without the empty values."""
    console = make_console()
    shown = {name: text for name, value in fields.items() if (text := format_value(value))}
    width = max(map(len, shown), default=0)
    for name, text in shown.items():
        console.print(Text.assemble((f"{name:<{width}}", "bold"), "  ", text), soft_wrap=True)


def print_line(text: str, *, style: str = "") -> None:
    """Print one line to standard output, however long."""
    make_console().print(Text(text, style=style), soft_wrap=True)


def print_json(value: object) -> None:
    """Print an indented JSON document; times in ISO 8601."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=_needs_ascii(), default=_to_json_value) + "\n")


def print_json_line(value: object) -> None:
    """Print a JSON object on one line, for a stream of objects."""
    sys.stdout.write(json.dumps(value, ensure_ascii=_needs_ascii(), default=_to_json_value) + "\n")


def print_error(error: CasemillError | str) -> None:
    """Print an error and its hint to standard error."""
    console = make_console(stderr=True)
    if isinstance(error, ConfigurationError):
        console.print(Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=True)
        return
    text, hint = (error.text, error.hint) if isinstance(error, CasemillError) else (error, "")
    console.print(Text.assemble(("error: ", "bold red"), text), soft_wrap=True)
    if hint:
        console.print(Text(f"  hint: {hint}"), soft_wrap=True)


def exit_with_error(error: CasemillError | str, code: int = EXIT_PROBLEM) -> NoReturn:
    """Print an error and exit the command with ``code``."""
    print_error(error)
    raise typer.Exit(code)


@contextmanager
def report_errors() -> Iterator[None]:
    """Turn the expected errors of the block into a printed error and an exit code. An unexpected error keeps its traceback.

    A wrong configuration and a refused value are wrong usage (2), all other errors are problems (1).
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
    """Show a progress bar on standard error, moved by calling ``(done, total)``. Without a terminal nothing is shown."""
    console = make_console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)

        def move(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield move


def make_console(*, stderr: bool = False) -> Console:
    """Return a console on the current streams; in a pipe it is wide enough for every line."""
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
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def open_editor(text: str) -> str:
    """Open ``text`` in $VISUAL, $EDITOR or vi and return what was saved. Raises :class:`ConfigurationError` when that fails."""
    import os
    import shlex
    import subprocess
    import tempfile

    from core.errors import ConfigurationError

    program = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "message.txt"
        path.write_text(text, "utf-8")
        try:
            subprocess.run([*shlex.split(program), str(path)], check=True)
        except (OSError, subprocess.CalledProcessError):
            raise ConfigurationError(
                f"{program} could not open the text", key="EDITOR", hint="set EDITOR to the command of an editor"
            ) from None
        return path.read_text("utf-8")
