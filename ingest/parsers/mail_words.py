"""The words mail programs put before a mail they quote or forward, in the languages they speak.

``HEADER_LABELS``: the label of a header line, folded by :func:`fold_label`, → the field it stands for. Collected from what
Outlook, Gmail, Apple Mail, Yahoo, Thunderbird and mobile programs write in English, German, French, Spanish, Portuguese,
Italian, Dutch, Polish, Swedish, Danish, Norwegian, Finnish, Czech, Hungarian, Turkish, Russian, Hebrew, Chinese, Japanese
and Korean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

#: Field → its labels, languages in the order above, parted by bars and line ends.
_LABELS: Mapping[str, str] = {
    "from": """
        from | von | de | expéditeur | remitente | remetente | da | mittente | van | afzender | od | nadawca | från
        avsändare | fra | afsender | avsender | lähettäjä | odesílatel | feladó | küldő | kimden | gönderen
        kimden (gönderen) | от | от кого | отправитель | מאת | מ | 发件人 | 寄件者 | 寄件人 | 發件人 | 差出人 | 送信者
        送信元 | 보낸 사람 | 보낸사람 | 발신 | 발신자 | 보낸이
    """,
    "date": """
        date | sent | date sent | sent on | datum | gesendet | gesendet am | envoyé | envoyé le | date d'envoi | fecha
        enviado | enviado el | enviada | fecha de envío | data | data de envio | enviado em | enviada em | enviado a
        data invio | inviato | inviato il | verzonden | verzonden op | verstuurd | wysłano | wysłane | data wysłania
        skickat | skickades | dato | sendt | sendt den | sendte | päivämäärä | päiväys | lähetetty | lähetysaika | pvm
        odesláno | odeslané | datum odeslání | dátum | elküldve | küldve | küldés ideje | tarih | gönderildi
        gönderilme tarihi | gönderme tarihi | gönderilme zamanı | gönderim tarihi | дата | отправлено | дата отправки
        время отправки | תאריך | נשלח | נשלח בתאריך | 日期 | 时间 | 時間 | 发送时间 | 發送時間 | 傳送時間 | 发送日期
        寄件日期 | 日付 | 日時 | 送信日時 | 送信日 | 送信済み | 날짜 | 보낸 날짜 | 보낸날짜 | 일시 | 보낸 시간
    """,
    "to": """
        to | an | à | a | pour | destinataire | destinataires | para | destinatario | destinatarios | destinatário
        destinatários | aan | do | adresat | till | til | mottaker | modtager | mottagare | vastaanottaja | komu | pro
        címzett | címzettek | kime | alıcı | кому | получатель | אל | ל | 收件人 | 收件者 | 宛先 | to (宛先) | 送信先
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
        předmět | tárgy | konu | тема | נושא | 主题 | 主題 | 主旨 | 件名 | 제목
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

_SPACES = re.compile(r"[\s\u00a0\u200e\u200f\u202a-\u202e]+")


def fold_label(label: str) -> str:
    """A label as the table has it: lower case, without spaces, marks of direction and the stars of bold text."""
    return _SPACES.sub("", label.replace("*", "")).strip(">|_").casefold()


HEADER_LABELS: Mapping[str, str] = {
    fold_label(label): name for name, labels in _LABELS.items() for label in re.split(r"[|\n]", labels) if label.strip()
}

#: Longer texts before a colon are sentences.
LABEL_MOST = 40
