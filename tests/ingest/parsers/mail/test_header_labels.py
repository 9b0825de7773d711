"""The reply splitter and the forward reader share one table of the words of mail programs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ingest.parsers.forward.forward_phrases import is_forward_banner, is_original_banner
from ingest.parsers.forward.original import find_inline_forward
from ingest.parsers.mail import header_labels
from ingest.parsers.mail.header_labels import FORWARD_PHRASES, HEADER_LABELS, ORIGINAL_PHRASES, make_reply_labels
from ingest.parsers.reply.lines import fold, is_forward_line, is_original_line, read_label

PARSERS = Path(header_labels.__file__).parents[1]
LABELS = make_reply_labels(fold)


@pytest.mark.parametrize("label", sorted(LABELS.keys() - {"re"}))
def test_label_names_the_same_field_in_replies_and_forwards(label: str) -> None:
    assert read_label(f"{label.title()}: x") == HEADER_LABELS[header_labels.fold_label(label)] == LABELS[label]


def test_re_labels_the_subject_in_replies_and_starts_it_in_forwards() -> None:
    assert read_label("Re: claim") == "subject"
    body = "----- Forwarded message -----\nFrom: Ana <ana@x.example>\nSubject:\nRe: claim\n\nText"
    forward = find_inline_forward("Fwd: claim", body)
    assert forward is not None
    assert forward.subject == "Re: claim"


def test_both_readers_recognise_every_banner() -> None:
    for phrase in FORWARD_PHRASES:
        assert is_forward_banner(f"---- {phrase} ----") and is_forward_line(f"---- {phrase} ----"), phrase
    for phrase in ORIGINAL_PHRASES:
        assert is_original_banner(f"---- {phrase} ----") and is_original_line(f"---- {phrase} ----"), phrase


def test_no_other_parser_module_repeats_the_phrases() -> None:
    sample_phrases = {"betreff", "asunto", "oggetto", "件名", "weitergeleitete nachricht", "ursprüngliche nachricht"}
    for path in PARSERS.rglob("*.py"):
        constants = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        repeated = {phrase for phrase in sample_phrases for text in constants if isinstance(text, str) and phrase in text}
        assert path.name == "header_labels.py" or not repeated, path.name
