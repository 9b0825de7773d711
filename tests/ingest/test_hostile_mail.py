"""The hostile set of security.md, rule 1, through real children with their limits."""

from __future__ import annotations

import pytest

from ingest.children import ParserPool
from ingest.parsers.child import ParseTask
from ingest.parsers.types import ParsedMail, ParseOptions
from tests.ingest.parsers.hostile_mail import build_hostile

HOSTILE = build_hostile()
NAMES = (
    "100,000 addresses in To", "100,000 addresses in From", "50,000 parameters", "50,000 parameters of a part", "depth 10,000",
    "100,000 parts", "5 angles in Message-ID", "90,000 angles in Message-ID", "an encoded CRLF in Subject",
    "1 MB of nested divs", "40 kB lines of who wrote when",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_message_is_answered_by_a_child_within_its_limits(parser_pool: ParserPool, name: str) -> None:
    (answer,) = parser_pool.parse([ParseTask("mail", HOSTILE[name], ParseOptions(html_text=True))], alone=True)
    assert isinstance(answer, ParsedMail), answer


def test_a_line_end_that_was_encoded_in_a_subject_is_a_space(parser_pool: ParserPool) -> None:
    (answer,) = parser_pool.parse([ParseTask("mail", HOSTILE["an encoded CRLF in Subject"])])
    assert isinstance(answer, ParsedMail)
    assert answer.subject == "s Bcc: x@x.example"
