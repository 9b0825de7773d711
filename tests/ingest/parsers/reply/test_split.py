"""Splitting a body: cases beyond the corpus, arbitrary text, and linear time."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.parsers.mail.body import build_body, split_body
from ingest.parsers.mail.html_text import html_to_text
from ingest.parsers.mail.parts import Leaf
from ingest.parsers.reply.split import ReplyParts, split_reply

FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
ATTRIBUTION = "On Mon, Nov 2, 2026 at 9:12 AM Support <support@acme.example> wrote:"
BLOCK = "From: Support <support@acme.example>\nSent: Monday\nTo: Ana\nSubject: Claim"
LINES = st.sampled_from(
    [
        "", " ", "Yes.", "please see below", "> quoted", ">> deeper", ">", "  > indented", ATTRIBUTION, ATTRIBUTION[:40],
        ATTRIBUTION[40:], "Am 02.11.26 um 09:12 schrieb Support:", "wrote:", *BLOCK.split("\n"), "Von: a", "Betreff: b",
        "-----Original Message-----", "---------- Forwarded message ---------", "Begin forwarded message:", "_" * 32, "-- ", "--",
        "Best regards,", "Thanks,", "Ana Bell", "Sent from my iPhone", "=== Please write your reply above this line ===",
        "\xad", "\u200b", "\ufeff> marked", "\u202bבתאריך 9:12 <a@b>:\u202c",
        "This email is confidential; if you are not the intended recipient, go.",
    ]
)  # fmt: skip
BODIES = st.one_of(st.lists(LINES, max_size=25).map("\n".join), st.text(max_size=300))
SUBJECTS = st.sampled_from(["", "Re: x", "FW: x", "VS: x", "WG: x"])


def count_words(split: ReplyParts) -> Counter[str]:
    return Counter(" ".join(split).split())


@given(BODIES, SUBJECTS)
@FUZZ
def test_no_word_is_lost_or_doubled_and_parts_keep_their_order(body: str, subject: str) -> None:
    split = split_reply(body, subject=subject)
    assert count_words(split) == Counter(body.split())
    for part in split:
        left = iter(body.split())
        assert all(word in left for word in part.split())


@given(BODIES, SUBJECTS)
@FUZZ
def test_splitting_a_reply_again_returns_the_reply(body: str, subject: str) -> None:
    reply = split_reply(body, subject=subject).reply
    assert split_reply(reply, subject=subject).reply == reply


@given(st.lists(st.sampled_from(
    ["<div>", "</div>", "<blockquote>", '<blockquote type="cite">', "</blockquote>", '<div class="gmail_quote">', "a", " b<br>",
     '<div class="gmail_attr">', '<div id="Signature">', '<div id="divRplyFwdMsg">', "On 2.11.26 9:12 a@b.c wrote:",
     '<span class="gmail_signature">', "</span>", "<!--", "-->", "\ufdd0", "&#xfdd1;", "<hr id=zwchr>", "<table><td>",
     "</table>"]
), max_size=30))  # fmt: skip
@FUZZ
def test_quote_marks_neither_remove_words_nor_remain(pieces: list[str]) -> None:
    page = "".join(pieces)
    body = build_body([Leaf("text/html", page.encode())], [], html_text=False)
    assert count_words(split_body(body, "")) == Counter(body.text.split())
    if "\ufdd0" not in page and "&#xfdd" not in page:
        assert "".join(body.text.split()) == "".join(html_to_text(page)[0].split())


def test_mail_without_a_quote_is_the_reply() -> None:
    body = "Hello,\n\nthe claim was denied: why?\n\n  Note: it is the second time.\n"
    assert split_reply(body) == ReplyParts(body, "", "")


def test_reply_above_a_header_block_in_a_forwarded_mail_is_kept_whole() -> None:
    body = f"Please take this one.\n\n{BLOCK}\n\nMy bill."
    assert split_reply(body, subject="RE: Claim").reply == "Please take this one."
    assert split_reply(body, subject="Fwd: Claim").reply == body
    assert split_reply(body, subject="RE: FW: Claim").reply == "Please take this one."


def test_vs_is_a_reply_in_finnish_and_a_forward_in_danish() -> None:
    finnish = "Kyllä.\n\nLähettäjä: Tuki <t@acme.example>\nLähetetty: ma\nAihe: Lasku\n\nMaksettu?"
    danish = "Se her.\n\nFra: Lis <l@oak.example>\nSendt: mandag\nEmne: Regning\n\nMin regning."
    assert split_reply(finnish, subject="VS: Lasku").reply == "Kyllä."
    assert split_reply(danish, subject="VS: Regning").reply == danish


@pytest.mark.parametrize("lines", [2, 3, 4])
def test_attribution_over_several_lines_is_recognised(lines: int) -> None:
    parts = ATTRIBUTION.split(" ")
    step = -(-len(parts) // lines)
    folded = "\n".join(" ".join(parts[at : at + step]) for at in range(0, len(parts), step))
    assert split_reply(f"Yes.\n\n{folded}\n\n> old") == ReplyParts("Yes.", f"{folded}\n\n> old", "")


def test_attribution_directly_below_the_reply_takes_no_line_of_it() -> None:
    assert split_reply(f"Paid 120.00 in 2025.\n{ATTRIBUTION}\n> old").reply == "Paid 120.00 in 2025."


@pytest.mark.parametrize(
    "body",
    [
        "Dana wrote:\n\nplease call.",
        f"Look at what they wrote:\n{ATTRIBUTION[:-7]}\nand so on.",
        "Service dates:\nFrom: 11/01/2026\nTo: 11/30/2026\nDate: today",
        "Values\n> 5 are wrong, those\n< 5 are right.",
        "- From: here\n- To: there",
    ],
)
def test_uncertain_quote_stays_in_the_reply(body: str) -> None:
    assert split_reply(body) == ReplyParts(body, "", "")


def build_hostile(size: int) -> dict[str, str]:
    """Return bodies of about ``size`` characters that have made a splitter quadratic."""
    wrote = "On Mon, Nov 2, 2026 at 9:12 AM " + "x" * 40_000 + " wrote:"
    return {
        "quote signs": ">\n" * (size // 2),
        "one line of quote signs": ">" * size,
        "long lines of On … wrote": f"{wrote}\n" * (size // len(wrote) + 1),
        "lines of On … wrote": "On Mon at 9:12 a@b wrote\n" * (size // 25),
        "lines that end in wrote and a colon": "text wrote:\n" * (size // 12),
        "labels": "From: a\nTo: b\n" * (size // 14),
        "header blocks without a subject": "From: a\nDate: b\nTo: c\n\nx\n" * (size // 25),
        "signs and text in turn": "> a\nb\n" * (size // 6),
        "attributions in turn": f"{ATTRIBUTION}\n> a\n" * (size // 73),
        "sent from": "Sent from my iPhone\n" * (size // 20),
        "closings": "Regards,\nAna\n" * (size // 13),
        "delimiters": "-- \nx\n" * (size // 6),
        "dashes": "-" * 199 + "\n" * (size // 200) + ("-- a" * 49 + "\n") * (size // 200),
        "blanks": " \n" * (size // 2),
        "disclaimers": "\n\nThis email is confidential.\n" * (size // 30),
    }


@pytest.mark.parametrize("name", build_hostile(100))
def test_time_grows_linearly_with_length(name: str) -> None:
    def measure(size: int) -> float:
        body = build_hostile(size)[name]
        start = time.process_time()
        split_reply(body)
        return time.process_time() - start

    measure(20_000)
    small, large = max(min(measure(100_000) for _ in range(2)), 0.004), measure(1_000_000)
    # Ten times the text: a quadratic splitter would take a hundred times as long.
    assert large < 40 * small
    assert large < 8


@pytest.mark.parametrize(
    "line",
    [
        "Pobierz aplikację Outlook dla systemu iOS", "iOS için Outlook'u edinin", "Az Outlook iOS-hez készült letöltése",
        "iOS 版 Outlook を入手", "iOS版Outlookを取得", "iOS용 Outlook 다운로드", "下载适用于 iOS 的 Outlook",
        "获取 Outlook for iOS",
        "Outlook für iOS beziehen", "Obter o Outlook para iOS",
    ],
)  # fmt: skip
def test_line_added_by_a_telephone_is_a_signature_in_many_languages(line: str) -> None:
    assert split_reply(f"Yes, it was paid.\n\n{line}") == ReplyParts("Yes, it was paid.", "", line)


@pytest.mark.parametrize("line", ["Bunun için Outlook kullanıyoruz.", "下载 Outlook 失败", "Pobierz fakturę z Outlook"])
def test_sentence_about_a_mail_program_is_not_a_signature(line: str) -> None:
    assert split_reply(f"Yes, it was paid.\n\n{line}").reply.endswith(line)
