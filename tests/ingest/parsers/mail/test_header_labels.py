"""The words of mail programs: one table, and both the splitter of replies and the reader of forwards go by it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ingest.parsers.forward.forward_phrases import is_forward_banner, is_original_banner
from ingest.parsers.forward.original import find_inline_forward
from ingest.parsers.mail import header_labels
from ingest.parsers.mail.header_labels import FORWARD_PHRASES, HEADER_LABELS, ORIGINAL_PHRASES, make_reply_labels
from ingest.parsers.reply.lines import fold, is_forward_line, read_label
from ingest.parsers.reply.lines import is_original_line as is_original_of_a_reply

PARSERS = Path(header_labels.__file__).parents[1]
LABELS = make_reply_labels(fold)


@pytest.mark.parametrize("label", sorted(LABELS.keys() - {"re"}))
def test_a_label_is_the_same_field_above_an_answer_and_above_a_forward(label: str) -> None:
    assert read_label(f"{label.title()}: x") == HEADER_LABELS[header_labels.fold_label(label)] == LABELS[label]


def test_re_is_a_subject_above_an_answer_and_the_begin_of_one_above_a_forward() -> None:
    assert read_label("Re: claim") == "subject"
    body = "----- Forwarded message -----\nFrom: Ana <ana@x.example>\nSubject:\nRe: claim\n\nText"
    forward = find_inline_forward("Fwd: claim", body)
    assert forward is not None
    assert forward.subject == "Re: claim"


def test_both_readers_know_every_line_above_a_forward_and_above_an_original() -> None:
    for phrase in FORWARD_PHRASES:
        assert is_forward_banner(f"---- {phrase} ----") and is_forward_line(f"---- {phrase} ----"), phrase
    for phrase in ORIGINAL_PHRASES:
        assert is_original_banner(f"---- {phrase} ----") and is_original_of_a_reply(f"---- {phrase} ----"), phrase


def test_no_other_module_of_the_parsers_repeats_them() -> None:
    telling = {"betreff", "asunto", "oggetto", "件名", "weitergeleitete nachricht", "ursprüngliche nachricht"}
    for path in PARSERS.rglob("*.py"):
        words = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        found = {word for word in telling for text in words if isinstance(text, str) and word in text}
        assert path.name == "header_labels.py" or not found, path.name
