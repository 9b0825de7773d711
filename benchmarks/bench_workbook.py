"""Measures a workbook of 10,000 rows × 12 columns → durable tickets and the receipt, against openpyxl's bare read-only pass.

A running `casemill run` (SQLite with synchronous=FULL, defaults, a watched folder that is looked at ten times a second) is
handed the file; timed is from the file's appearance in the folder to the finished receipt beside it, which comes after the
last ticket's commit. The other side opens the same bytes read-only and reads every cell. In turn; medians of the runs.

Run: python -m benchmarks.bench_workbook [--rows 10000] [--runs 3]
"""

from __future__ import annotations

import argparse
import io
import random
import time
from datetime import datetime, timedelta
from pathlib import Path

from openpyxl import Workbook, load_workbook

from benchmarks.harness import EMBEDDED, Result, Scene, median, record, say, spread, wait
from benchmarks.mails import FIRST, LAST, WORDS

HEADERS = (
    "Message ID", "Sent Date", "Sender Name", "Sender Email", "Phone", "Practice", "Account Number", "Subject", "Message",
    "Category", "Claim Reference", "Payer",
)  # fmt: skip
PRACTICES = 400
#: 1,500 rows a second on a machine where the bare pass reads 11,700 (`targets.md`: figures are ratios).
REACH = round(1_500 / 11_700, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description="A large workbook, against openpyxl's bare reading.")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    content = make_workbook(options.rows)
    own, bare = [], []
    with Scene() as scene:
        for number in range(options.runs):
            own.append(options.rows / run_casemill(scene, content, options.rows))
            bare.append(options.rows / read_bare(content))
            say(f"run {number + 1}: casemill {own[-1]:.0f} rows/s, openpyxl {bare[-1]:.0f} rows/s")
    name, note = "workbook → tickets and receipt", f"to reach besides: 1,500 rows/s; {spread(own)}"
    record(Result(name, median(own), "rows/s", "openpyxl read-only", median(bare), REACH, note=note))


def make_workbook(rows: int) -> bytes:
    """The file, the same one each time."""
    source = random.Random(3)  # noqa: S311 - reproducible, not secret
    book = Workbook(write_only=True)
    sheet = book.create_sheet("Messages")
    sheet.append(HEADERS)
    begin = datetime(2026, 11, 2, 8)  # noqa: DTZ001 - a workbook's dates have no zone
    for number in range(rows):
        practice = source.randrange(PRACTICES)
        name = f"{source.choice(FIRST)} {source.choice(LAST)}"
        words = " ".join(source.choices(WORDS, k=source.randint(15, 60)))
        sheet.append((
            f"SM-{number:07d}", begin + timedelta(minutes=number), name, f"p{number % 3000}@clinic{practice}.example",
            f"(555) 010-{number % 10_000:04d}", f"Clinic {practice}", f"{100_000 + practice}", words[:60], words,
            source.choice(("Claims", "Billing", "Payments", "")), f"88-{number:06d}", f"Payer {number % 40}",
        ))  # fmt: skip
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def run_casemill(scene: Scene, content: bytes, rows: int) -> float:
    """Seconds from the file to its receipt."""
    drop = scene.new_folder()
    folder = f'[folders.drop]\npath = "{drop}"\nsettle_seconds = 0\npoll_seconds = 0.1'
    with scene.system(EMBEDDED, extra=folder) as system:
        system.start()
        take(drop, "first.xlsx", make_workbook(1))
        wait(lambda: system.at_rest() and system.ask("SELECT count(*) FROM ticket"), "the first workbook")
        began = time.monotonic()
        receipt = take(drop, "messages.xlsx", content)
        ended = wait(receipt.exists, "the receipt", 300)
        tickets = system.ask("SELECT count(*) FROM inbound_item WHERE family = 'row' AND disposition = 'ticket'")
        if tickets < rows:
            raise SystemExit(f"{rows} rows became {tickets} tickets")
    return ended - began


def take(drop: Path, name: str, content: bytes) -> Path:
    """Hand a file over; answers where its receipt will be."""
    draft = drop.with_name(f"{drop.name}-draft")
    draft.write_bytes(content)
    draft.rename(drop / name)
    return drop / "done" / f"{Path(name).stem}.receipt.xlsx"


def read_bare(content: bytes) -> float:
    """Seconds of openpyxl's own pass over every cell."""
    began = time.perf_counter()
    book = load_workbook(io.BytesIO(content), read_only=True)
    cells = sum(len(row) for sheet in book.worksheets for row in sheet.iter_rows(values_only=True))
    book.close()
    if cells < len(HEADERS):
        raise SystemExit("the workbook is empty")
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
