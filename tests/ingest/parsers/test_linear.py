"""Linear time: four times the text takes a text reader about four times as long, for any kind of text."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from core.reply_separator import separator_line
from ingest.parsers.bounce.text_report import MAX_REPORT_LENGTH, read_text_report
from ingest.parsers.forward.original import MAX_SCANNED_LENGTH, find_inline_forward
from ingest.parsers.mail.headers import Headers, read_block
from ingest.parsers.reply.split import split_reply
from ingest.parsers.reply.thanks import MAX_REPLY_LENGTH, find_thanks

DAEMON: Headers = read_block(b"From: mailer-daemon@x.example\nSubject: failure notice\n\n")[0]
BLOCK = "From: a@x.example\nTo: b@x.example\nDate: c\n"
WROTE = "On Mon, Nov 2, 2026 at 9:12 AM Ana <a@b.example> wrote:\n"


def split(text: str) -> None:
    split_reply(text)


def forward(text: str) -> None:
    find_inline_forward("Fwd: x", text)
    find_inline_forward("x", text)


def bounce(text: str) -> None:
    read_text_report(DAEMON, text, "failure notice")


def thanks(text: str) -> None:
    for _ in range(20):
        find_thanks(text, text)


#: Reader → the number of characters that it reads, and the pieces that make up the texts.
READERS: dict[Callable[[str], None], tuple[int, list[str]]] = {
    split: (120_000, [
        ">\n", "> a\nb\n", "wrote:\n", "From: a\nTo: b\n", f"{BLOCK}\nx\n", "-- \nx\n", "Regards,\nAna\n", "-- a" * 40 + "\n",
        f"> a\n\n> {separator_line()[:-5]}\n", f"{WROTE}x\n", "a@b 9:12 2026:\n", WROTE.strip(), "b: c\n",
    ]),
    forward: (MAX_SCANNED_LENGTH // 2, [
        "----- Forwarded message -----\n", "From: a\n", "From:\n\n", BLOCK, "From: a\nDate:\n", "> From: a\n", "-----\n",
        "06.10.2025, 09:15, \"a", "<mailto:", "a@", "On Mon, Oct 6 wrote: ", " ", "To: a,\n",
    ]),
    bounce: (MAX_REPORT_LENGTH, [
        "> ", "--\n", "<a@b.example>\n", "<a@", "5.1.", "x", "aa bb: ", "Message-ID: <", "550 5.1.1 ", "Action: failed\n",
    ]),
    thanks: (MAX_REPLY_LENGTH, ["thanks ", "thank you very much ", "A ", "danke für ", "ご", ".", "so ", "много ", "- ", "Ana "]),
}  # fmt: skip
CASES = [(reader, piece) for reader, (_, pieces) in READERS.items() for piece in pieces]


def measure_seconds(reader: Callable[[str], None], text: str, rounds: int) -> float:
    """Return the CPU seconds of the fastest of some rounds: disturbances only add time."""
    spent = []
    for _ in range(rounds):
        start = time.process_time()
        reader(text)
        spent.append(time.process_time() - start)
    return min(spent)


@pytest.mark.parametrize(("reader", "piece"), CASES, ids=[f"{reader.__name__}-{piece.strip()[:24]!r}" for reader, piece in CASES])
def test_four_times_the_text_takes_less_than_ten_times_as_long(reader: Callable[[str], None], piece: str) -> None:
    max_length = READERS[reader][0]
    count = max_length // len(piece) // 4
    reader(piece * (count // 4))
    small, large = measure_seconds(reader, piece * count, 2), measure_seconds(reader, piece * count * 4, 1)
    # A quadratic reader would take sixteen times as long. Below two milliseconds the clock is too coarse.
    assert large < 10 * max(small, 0.002), (small, large)
