"""The phrases by which mail programs mark a forwarded mail, in the languages of :mod:`ingest.parsers.mail.header_labels`."""

from __future__ import annotations

import re

from ingest.parsers.mail.header_labels import FORWARD_PHRASES, ORIGINAL_PHRASES

#: Subject prefixes for "forwarded" and "reply"; only the outermost one counts. ``VS`` is a Finnish reply and a Danish forward.
_FORWARD = (
    "fwd?|forward(?:ed)?|wg|weitergeleitet|tr|transf|rv|renv|reenv|enc|encam|i|inoltro|inoltra|doorst|doorgestuurd|pd|przekaz|vb|vl|vidar"
    "|předáno|přeposláno|továbbítás|továbbítva|tov|i̇lt|ilt|İlt|пер|пересл|переслано|fw_ext|הועבר|转发|轉寄|轉發|転送|전달"
)
_REPLY = (
    "re|aw|antw|antwort|antwoord|réf|rép|res|resp|ris|r|odp|sv|svar|ynt|yan|отв|ответ|на|ha|תגובה|השב|回复|答复|回覆|回應|返信"
    "|답장|회신|vá|válasz|odpověď"
)
_PREFIX = re.compile(
    rf"\s*(?:\[[^\]]{{0,40}}\]\s*)*(?:(?P<forward>{_FORWARD})|(?P<reply>{_REPLY})|(?P<either>vs))"
    r"\s{0,3}(?:\[\d{1,3}\]|\(\d{1,3}\)|\d{1,3})?\s{0,3}[:：]",
    re.I,
)

#: Lines that some programs write below a forwarded mail.
END_PHRASES = (
    "end forwarded message", "end of forwarded message", "ende der weitergeleiteten nachricht", "fin du message transféré",
    "fine messaggio inoltrato", "fin del mensaje reenviado", "fim da mensagem encaminhada", "конец пересылаемого сообщения",
)  # fmt: skip

_DECORATION = "-=_*~>─—–.:： \t\u00a0\u200e\u200f"
_PHRASES_WITH_MORE = tuple(phrase + " " for phrase in FORWARD_PHRASES)


def read_subject_prefix(subject: str) -> str | None:
    """Return what the outermost prefix of a subject says: ``forward``, ``reply``, ``either`` or None."""
    match = _PREFIX.match(subject)
    return match.lastgroup if match else None


def strip_subject_prefix(subject: str) -> str:
    """Return the subject without its outermost prefix."""
    match = _PREFIX.match(subject)
    return subject[match.end() :].strip() if match else subject


def strip_decoration(line: str) -> str:
    """Return a line in lower case without the dashes, asterisks and colons around its words."""
    return line.strip(_DECORATION).replace("\u00a0", " ").casefold()


def is_forward_banner(line: str) -> bool:
    """Whether a line announces a forwarded mail. A banner with further words (a name, a date) needs its dashes."""
    text = strip_decoration(line[:300])
    if text in FORWARD_PHRASES:
        return True
    return line.lstrip("> ").startswith(("--", "==", "__")) and text.startswith(_PHRASES_WITH_MORE)


def is_original_banner(line: str) -> bool:
    """Whether a line announces an original mail, forwarded or quoted."""
    return strip_decoration(line[:300]) in ORIGINAL_PHRASES


def is_forward_end(line: str) -> bool:
    """Whether a line ends the forwarded mail."""
    return len(line) < 200 and line.lstrip("> ").startswith(("--", "==")) and strip_decoration(line).startswith(END_PHRASES)
