"""The words by which mail programs say that they forward, in the languages of :mod:`ingest.parsers.mail_words`."""

from __future__ import annotations

import re

#: A subject that says "forwarded" or "reply", the outermost prefix only. ``VS`` is either: Finnish replies, Danish forwards.
_FORWARD = (
    "fwd?|forward(?:ed)?|wg|weitergeleitet|tr|transf|rv|reenv|enc|encam|i|inoltro|doorst|doorgestuurd|pd|przekaz|vb|vl|vidar"
    "|předáno|přeposláno|továbbítás|továbbítva|tov|i̇lt|ilt|İlt|пересл|переслано|fw_ext|הועבר|转发|轉寄|轉發|転送|전달"
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


def _split(phrases: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for phrase in re.split(r"[|\n]", phrases) if phrase.strip())


#: What stands above a forwarded mail and above nothing else.
FORWARD_PHRASES = _split("""
    forwarded message | begin forwarded message | start of forwarded message | forwarded by | forwarded from
    forwarded mail | fwd message | weitergeleitete nachricht | anfang der weitergeleiteten nachricht
    anfang der weitergeleiteten e-mail | weitergeleitet von | weitergeleitete mail | message transféré
    début du message transféré | début du message réexpédié | message réexpédié | message transmis | transféré par
    mensaje reenviado | inicio del mensaje reenviado | comienzo del mensaje reenviado | reenviado por
    mensagem encaminhada | mensagem reencaminhada | início da mensagem encaminhada | início da mensagem reencaminhada
    messaggio inoltrato | inizio messaggio inoltrato | inizio del messaggio inoltrato | inoltrato da
    doorgestuurd bericht | begin doorgestuurd bericht | doorgezonden bericht | przekazana wiadomość | wiadomość przekazana
    początek przekazywanej wiadomości | treść przekazanej wiadomości | przesłana dalej wiadomość
    wiadomość przesłana dalej | treść przekazywanej wiadomości | vidarebefordrat meddelande | vidarebefordrat brev
    början på vidarebefordrat brev | vidarebefordrat mejl | början på vidarebefordrat meddelande | videresendt meddelelse
    videresendt besked | start på videresendt besked | start på videresendt meddelelse | videresendt mail
    videresendt melding | start på videresendt melding | videresendt e-post | starten på videresendt melding
    välitetty viesti | edelleenlähetetty viesti | välitetty viesti alkaa | edelleen lähetetty viesti | přeposlaná zpráva
    přeposlaný e-mail | začátek přeposílané zprávy | přeposílaná zpráva | začátek přeposlané zprávy | továbbított üzenet
    továbbított levél | továbbított üzenet kezdete | továbbított levél kezdete | iletilen mesaj | yönlendirilmiş ileti
    iletilmiş ileti | iletilen ileti | iletilen ileti başlangıcı | iletilen posta | yönlendirilen ileti | iletilen e-posta
    пересылаемое сообщение | пересланное сообщение | начало переадресованного сообщения | начало пересылаемого сообщения
    пересылаемое письмо | пересланное письмо | начало пересланного сообщения | הודעה שהועברה | הודעה מועברת
    תחילת ההודעה שהועברה | תחילת הודעה שהועברה | דואל שהועבר | 转发的邮件 | 转发邮件信息 | 被转发邮件 | 被转发的邮件
    转发邮件 | 以下是转发的邮件 | 下面是被转发的邮件 | 开始转发的邮件 | 转发的信息 | 轉寄郵件 | 轉寄的郵件 | 轉寄的訊息
    以下是轉寄的郵件 | 開始轉寄郵件 | 已轉寄的訊息 | 転送メッセージ | 転送されたメッセージ | 転送メール
    以下は転送されたメッセージです | 転送されたメール | 전달된 메시지 | 전달된 메일 | 전달한 메시지 | 전달한 메일
    아래는 전달된 메시지입니다 | 전달된 이메일
""")

#: What stands above a forwarded or an answered mail.
ORIGINAL_PHRASES = _split("""
    original message | original email | original mail | ursprüngliche nachricht | originalnachricht | original-nachricht
    message d'origine | message original | e-mail d'origine | mensaje original | mensagem original | messaggio originale
    oorspronkelijk bericht | origineel bericht | oryginalna wiadomość | wiadomość oryginalna | ursprungligt meddelande
    originalmeddelande | oprindelig meddelelse | den oprindelige meddelelse | opprinnelig melding | alkuperäinen viesti
    původní zpráva | původní e-mail | eredeti üzenet | orijinal mesaj | orijinal ileti | özgün ileti | исходное сообщение
    оригинальное сообщение | הודעה מקורית | 原始邮件 | 原始郵件 | 原邮件 | 原始訊息 | 元のメッセージ
    オリジナルメッセージ | 원본 메시지 | 원본 메일 | 원본 이메일
""")

#: What some programs write below a forwarded mail.
END_PHRASES = (
    "end forwarded message", "end of forwarded message", "ende der weitergeleiteten nachricht", "fin du message transféré",
    "fine messaggio inoltrato", "fin del mensaje reenviado", "fim da mensagem encaminhada", "конец пересылаемого сообщения",
)  # fmt: skip

_BARE = "-=_*~>─—–.:： \t\u00a0\u200e\u200f"
_FORWARD_SET, _ORIGINAL_SET = frozenset(FORWARD_PHRASES), frozenset(ORIGINAL_PHRASES)
_WITH_MORE = tuple(phrase + " " for phrase in FORWARD_PHRASES)


def read_prefix(subject: str) -> str | None:
    """What the subject's outermost prefix says: ``forward``, ``reply``, ``either`` or nothing."""
    match = _PREFIX.match(subject)
    return match.lastgroup if match else None


def cut_prefix(subject: str) -> str:
    """The subject without its outermost prefix."""
    match = _PREFIX.match(subject)
    return subject[match.end() :].strip() if match else subject


def bare(line: str) -> str:
    """A line without the dashes, stars and colons around its words, in lower case."""
    return line.strip(_BARE).replace("\u00a0", " ").casefold()


def is_marker(line: str) -> bool:
    """Whether the line says that a forwarded mail begins. With more words on it (a name, a date) it needs its dashes."""
    text = bare(line[:300])
    if text in _FORWARD_SET:
        return True
    return line.lstrip("> ").startswith(("--", "==", "__")) and text.startswith(_WITH_MORE)


def is_original(line: str) -> bool:
    """Whether the line says that an original follows, forwarded or answered."""
    return bare(line[:300]) in _ORIGINAL_SET


def is_end(line: str) -> bool:
    """Whether the line says that the forwarded mail ends."""
    return len(line) < 200 and line.lstrip("> ").startswith(("--", "==")) and bare(line).startswith(END_PHRASES)
