"""The words that mail programs write above a quoted or forwarded mail, by language.

``HEADER_LABELS`` maps the label of a header line, folded by :func:`fold_label`, to its field. The labels were collected from
Outlook, Gmail, Apple Mail, Yahoo, Thunderbird and mobile programs in English, German, French, Spanish, Portuguese, Italian,
Dutch, Polish, Swedish, Danish, Norwegian, Finnish, Czech, Hungarian, Turkish, Russian, Hebrew, Chinese, Japanese and Korean.
The reply splitter and the forward reader share these tables (docs/decisions/reply-text.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

#: Field → labels, languages in the order above, separated by bars and line ends.
_LABELS: Mapping[str, str] = {
    "from": """
        from | von | de | expéditeur | remitente | remetente | da | mittente | van | afzender | od | nadawca | från
        avsändare | fra | afsender | avsender | lähettäjä | odesílatel | feladó | küldő | kimden | gönderen
        kimden (gönderen) | от | от кого | отправитель | מאת | מ | 发件人 | 发信人 | 寄件者 | 寄件人 | 發件人 | 差出人 | 送信者
        送信元 | 보낸 사람 | 보낸사람 | 발신 | 발신자 | 보낸이
    """,
    "date": """
        date | sent | sent at | date sent | sent on | datum | gesendet | gesendet am | envoyé | envoyé le | date d'envoi | fecha
        enviado | enviado el | enviada | fecha de envío | data | data de envio | enviado em | enviada em | enviado a
        data invio | inviato | inviato il | verzonden | verzonden op | verstuurd | wysłano | wysłane | data wysłania
        skickat | skickades | dato | sendt | sendt den | sendte | päivämäärä | päiväys | lähetetty | lähetysaika | pvm
        odesláno | odeslané | datum odeslání | dátum | elküldve | küldve | küldés ideje | tarih | gönderildi | gönderilen
        gönderilme tarihi | gönderme tarihi | gönderilme zamanı | gönderim tarihi | дата | отправлено | дата отправки
        время отправки | תאריך | נשלח | נשלח בתאריך | 日期 | 时间 | 時間 | 发送时间 | 發送時間 | 傳送時間 | 发送日期
        寄件日期 | 日付 | 日時 | 送信日時 | 送信日 | 送信済み | 날짜 | 보낸 날짜 | 보낸날짜 | 일시 | 보낸 시간
    """,
    "to": """
        to | an | à | a | pour | destinataire | destinataires | para | destinatario | destinatarios | destinatário
        destinatários | aan | do | adresat | till | til | mottaker | modtager | mottagare | vastaanottaja | komu | pro
        címzett | címzettek | kime | alıcı | кому | получатель | אל | ל | 收件人 | 收信人 | 收件者 | 宛先 | to (宛先) | 送信先
        받는 사람 | 받는사람 | 받는이 | 수신 | 수신자
    """,
    "cc": """
        cc | kopie | copie à | copie | copia | cópia | kopia | dw | do wiadomości | kopi | kopio | másolat
        másolatot kap | bilgi | копия | עותק | העתק | 抄送 | 副本 | 参照 | 참조
    """,
    "bcc": """
        bcc | bkk | cci | cco | ccn | udw | hemlig kopia | blindkopi | piilokopio | skrytá kopie | titkos másolat
        gizli | скрытая копия | עותק מוסתר | 密件抄送 | 密件副本 | 숨은 참조
    """,
    "subject": """
        subject | betreff | objet | sujet | asunto | assunto | oggetto | onderwerp | temat | ämne | emne | aihe
        předmět | tárgy | konu | тема | נושא | 主题 | 标题 | 主題 | 主旨 | 件名 | 제목
    """,
    "reply-to": """
        reply-to | antwort an | antworten an | répondre à | responder a | responder para | rispondi a | beantwoorden
        odpowiedz do | svara till | svar til | vastausosoite | odpovědět na | válaszcím | yanıtla | обратный адрес
        השב אל | 回复 | 回覆 | 返信先 | 회신
    """,
    "attachments": """
        attachments | anlagen | anhänge | pièces jointes | datos adjuntos | adjuntos | anexos | allegati | bijlagen
        załączniki | bilagor | vedhæftede filer | vedlegg | liitteet | přílohy | mellékletek | ekler | вложения
        קבצים מצורפים | 附件 | 添付ファイル | 첨부 파일
    """,
    "importance": """
        importance | priority | wichtigkeit | priorität | importancia | prioridade | priorità | urgentie | ważność
        prioritet | wichtig | 重要性 | 重要度 | 중요도
    """,
}

#: Above a quoted mail "Re:" can label the subject; above a forwarded mail it begins the subject itself.
_REPLY_ONLY_LABELS = {"re": "subject"}
_SPACES = re.compile(r"[\s\u00a0\u200e\u200f\u202a-\u202e]+")


def fold_label(label: str) -> str:
    """Return a label as in the table: lower case, without spaces, direction marks and the asterisks of bold text."""
    return _SPACES.sub("", label.replace("*", "")).strip(">|_").casefold()


def _split(texts: str) -> frozenset[str]:
    return frozenset(text.strip() for text in re.split(r"[|\n]", texts) if text.strip())


_FIELDS = {label: name for name, labels in _LABELS.items() for label in _split(labels)}
HEADER_LABELS: Mapping[str, str] = {fold_label(label): name for label, name in _FIELDS.items()}


def make_reply_labels(fold: Callable[[str], str]) -> Mapping[str, str]:
    """Return the labels above a quoted mail, folded by ``fold`` as the reply splitter folds its lines, with their fields."""
    shown = ("from", "date", "to", "cc", "bcc", "subject")
    return {fold(label): name for label, name in (_FIELDS | _REPLY_ONLY_LABELS).items() if name in shown}


#: A longer text before a colon is a sentence.
MAX_LABEL_LENGTH = 40

#: Banners above a forwarded mail only.
FORWARD_PHRASES = _split(
    """
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
    아래는 전달된 메시지입니다 | 전달된 이메일 | wiadomość przekazana dalej | 已轉寄郵件 | 已转发邮件 | 전달된 메시지 시작
"""
)

#: Banners above a forwarded or a quoted mail.
ORIGINAL_PHRASES = _split(
    """
    original message | original email | original mail | ursprüngliche nachricht | originalnachricht | original-nachricht
    message d'origine | message original | e-mail d'origine | mensaje original | mensagem original | messaggio originale
    oorspronkelijk bericht | origineel bericht | oryginalna wiadomość | wiadomość oryginalna | ursprungligt meddelande
    originalmeddelande | oprindelig meddelelse | den oprindelige meddelelse | opprinnelig melding | alkuperäinen viesti
    původní zpráva | původní e-mail | eredeti üzenet | orijinal mesaj | orijinal ileti | özgün ileti | исходное сообщение
    оригинальное сообщение | הודעה מקורית | 原始邮件 | 原始郵件 | 原邮件 | 原始訊息 | 元のメッセージ
    オリジナルメッセージ | 원본 메시지 | 원본 메일 | 원본 이메일
    message initial | messaggio originario | oprindelig besked | original appointment | original meddelelse
    original melding | original nachricht | originální zpráva | reply message | treść oryginalnej wiadomości | özgün mesaj
    первоначальное сообщение | ההודעה המקורית | 元のメール | 原始信件 | 邮件原件 | 원본메시지
"""
)
