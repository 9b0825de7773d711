"""The words mail programs put around a quote and below a text, in the languages our customers write in. Tables only.

Everything is folded as :func:`ingest.parsers.reply_lines.fold` does it: lower case, plain spaces, straight apostrophes.
"""

from __future__ import annotations

import re


def _texts(texts: str) -> frozenset[str]:
    return frozenset(texts.split("|"))


def _labels(**kinds: str) -> dict[str, str]:
    return {label: kind for kind, labels in kinds.items() for label in labels.split("|")}


#: Label of a header block → which header it is. Outlook, Apple, Samsung, Lotus, QQ and the like.
LABELS = _labels(
    sender="from|von|de|da|van|od|från|fra|lähettäjä|odesílatel|feladó|kimden|gönderen|от|от кого|מאת|发件人|发信人|寄件者|寄件人"
    "|差出人|送信者|送信元|보낸 사람|보낸사람|발신",
    date="sent|date|gesendet|datum|gesendet am|envoyé|date d'envoi|envoyé le|enviado|enviado el|fecha|enviada em"
    "|enviado em|enviada"
    "|data|inviato|data invio|verzonden|wysłano|wysłane|skickat|sendt|dato|lähetetty|päivämäärä|päiväys"
    "|odesláno|elküldve|küldve"
    "|dátum|gönderildi|gönderilen|gönderme tarihi|tarih|отправлено|дата|נשלח|תאריך|发送时间|日期|发送日期|时间|寄件日期|傳送時間"
    "|送信日時|日付|日時|보낸 날짜|보낸날짜|날짜|일시|sent at|date sent",
    to="to|an|à|pour|para|a|aan|do|till|til|vastaanottaja|komu|címzett|kime|alıcı|кому|אל|收件人|收信人|收件者|宛先|送信先"
    "|받는 사람|받는사람|수신",
    copy="cc|copie|copie à|dw|kopia|kopi|kopio|kopie|másolatot kap|másolat|bilgi|копия|עותק|抄送|副本|参照|참조|bcc|ccn|cci",
    subject="subject|betreff|objet|sujet|asunto|assunto|oggetto|onderwerp|temat|ämne|emne|aihe|předmět|tárgy|konu"
    "|тема|נושא|主题"
    "|主旨|主題|标题|件名|제목|re",
)  # fmt: skip

#: What stands between dashes above an original message.
ORIGINAL = _texts(
    "original message|original appointment|reply message|ursprüngliche nachricht|originalnachricht|original-nachricht"
    "|original nachricht|message d'origine|message original|message initial|mensaje original|mensagem original"
    "|messaggio originale|messaggio originario|oorspronkelijk bericht|origineel bericht|wiadomość oryginalna"
    "|oryginalna wiadomość|treść oryginalnej wiadomości|ursprungligt meddelande|originalmeddelande|oprindelig meddelelse"
    "|oprindelig besked|original meddelelse|opprinnelig melding|original melding|alkuperäinen viesti|původní zpráva"
    "|originální zpráva|eredeti üzenet|orijinal mesaj|orijinal ileti|özgün ileti|özgün mesaj|исходное сообщение"
    "|оригинальное сообщение|первоначальное сообщение|הודעה מקורית|ההודעה המקורית|原始邮件|原始郵件|邮件原件|原邮件"
    "|原始訊息|原始信件|元のメッセージ|元のメール|원본 메시지|원본 메일|원본메시지"
)  # fmt: skip

#: What stands above a forwarded message, between dashes or before a colon. Such a message is no quote.
FORWARDED = _texts(
    "forwarded message|begin forwarded message|weitergeleitete nachricht|anfang der weitergeleiteten nachricht"
    "|weitergeleitete mail|message transféré|début du message transféré|début du message réexpédié|message réexpédié"
    "|mensaje reenviado|inicio del mensaje reenviado|mensagem encaminhada|mensagem reencaminhada"
    "|início da mensagem encaminhada"
    "|início da mensagem reencaminhada|messaggio inoltrato|inizio messaggio inoltrato|doorgestuurd bericht"
    "|begin doorgestuurd bericht|wiadomość przekazana dalej|przekazana wiadomość|początek przekazywanej wiadomości"
    "|treść przekazanej wiadomości|vidarebefordrat meddelande|vidarebefordrat brev|videresendt besked"
    "|videresendt meddelelse"
    "|start på videresendt besked|start på videresendt meddelelse|videresendt melding|videresendt e-post"
    "|starten på videresendt melding|välitetty viesti|edelleenlähetetty viesti|välitetty viesti alkaa|přeposlaná zpráva"
    "|začátek přeposlané zprávy|továbbított levél|továbbított üzenet|továbbított üzenet kezdete"
    "|iletilen mesaj|iletilen ileti"
    "|yönlendirilen ileti|iletilen ileti başlangıcı|пересылаемое сообщение|пересланное сообщение"
    "|начало переадресованного сообщения|начало пересылаемого сообщения|הודעה שהועברה|תחילת ההודעה שהועברה|转发的邮件|转发邮件"
    "|转发邮件信息|已转发邮件|下面是被转发的邮件|轉寄郵件|已轉寄郵件|轉寄的郵件|以下是轉寄的郵件|転送されたメッセージ|転送メッセージ"
    "|転送されたメール|전달된 메시지|전달된 메일|전달된 메시지 시작"
)  # fmt: skip

#: Subject prefixes of forwards. ``vs`` forwards in Danish and Norwegian and answers in Finnish.
FORWARD_PREFIXES = _texts(
    "fw|fwd|wg|tr|rv|renv|enc|i|inoltra|inoltro|doorst|pd|vb|vl|vs|továbbítás|továbbítva|přeposláno|předáno|ilt|пересл|пер"
    "|הועבר|转发|轉寄|転送|전달"
)  # fmt: skip
FINNISH_SENDER = "lähettäjä"

#: Verbs (and what stands for them) in the line above a quote.
WROTE = re.compile(
    r"\b(?:wrote|writes|schrieb|geschrieben|a écrit|a ecrit|écrivait|escribió|escribio|ha escrito|escreveu|ha scritto|schreef"
    r"|napisał|napisała|napisał\(a\)|napisana|napisany|pisze|skrev|kirjoitti|napsal|napsala|napsal\(a\)"
    r"|napísal|ezt írta|írta"
    r"|yazdı|yazmış|написал|написала|написал\(а\)|пишет|писал|писала|quoting|zitat von|citando|citando a|citation de|dixit)"
    r"(?!\w)|כתב|בתאריך|写道|寫道|写到|寫到|写了|のメール|のメッセージ|書きました|さんは書|작성|썼습니다|님이 씀"
)
#: How the line above a quote begins where a date comes first.
LEAD = re.compile(r"[\s\"'(]*(?:on|at|am|le|el|em|il|op|dnia|w dniu|den|dne|в|在|於|于|בתאריך|2\d{3}[年년.])(?=\W|\d)")

#: Closings that nobody writes but above a name.
REGARDS = _texts(
    "best|best regards|kind regards|kindest regards|warm regards|warmest regards|regards|best wishes|all the best|sincerely"
    "|yours sincerely|sincerely yours|yours truly|yours faithfully|respectfully|cheers|cordially|warmly|take care|br|kr"
    "|mit freundlichen grüßen|mit freundlichen grüssen|freundliche grüße|freundliche grüsse|mit freundlichem gruß"
    "|mit freundlichem gruss|mit besten grüßen|mit besten grüssen|beste grüße|beste grüsse|viele grüße"
    "|viele grüsse|liebe grüße"
    "|liebe grüsse|herzliche grüße|herzliche grüsse|schöne grüße|schöne grüsse|gruß|gruss|grüße|grüsse|mfg"
    "|lg|vg|hochachtungsvoll"
    "|cordialement|bien cordialement|très cordialement|sincères salutations|salutations|meilleures salutations|bien à vous"
    "|salutations distinguées|amicalement|saludos|un saludo|saludos cordiales|un cordial saludo|cordialmente|atentamente"
    "|muy atentamente|atenciosamente|att|abraços|abraço|cumprimentos|com os melhores cumprimentos|melhores cumprimentos"
    "|saudações|cordiali saluti|distinti saluti|saluti|un saluto|cordialità|un cordiale saluto|met vriendelijke groet"
    "|met vriendelijke groeten|vriendelijke groet|vriendelijke groeten|hartelijke groet|groet|groeten|groetjes|mvg"
    "|z poważaniem|pozdrawiam|pozdrawiam serdecznie|serdecznie pozdrawiam|z wyrazami szacunku|med vänliga hälsningar"
    "|med vänlig hälsning|vänliga hälsningar|vänlig hälsning|hälsningar|mvh|med venlig hilsen|venlig hilsen|venlige hilsner"
    "|de bedste hilsner|bedste hilsner|hilsen|vh|med vennlig hilsen|vennlig hilsen|beste hilsen"
    "|ystävällisin terveisin|terveisin"
    "|parhain terveisin|yt|s pozdravem|s přátelským pozdravem|s úctou|hezký den|üdvözlettel|tisztelettel"
    "|szívélyes üdvözlettel"
    "|üdv|saygılarımla|saygılar|iyi çalışmalar|sevgiler|selamlar|с уважением|с наилучшими пожеланиями|всего доброго"
    "|всего хорошего|בברכה|בכבוד רב|בברכה רבה|此致|敬礼|此致敬礼|祝好|敬具|よろしくお願いします|よろしくお願いいたします"
    "|宜しくお願い致します|以上、よろしくお願いいたします|드림"
)  # fmt: skip
#: Closings that can also be the whole message: they close only a text that says something before.
THANKS_CLOSINGS = _texts(
    "thanks|thank you|many thanks|thanks a lot|thanks so much|thank you so much|thanks again|thanks in advance"
    "|thank you in advance|thx|thanks and regards|thanks & regards|danke|vielen dank|besten dank"
    "|herzlichen dank|danke im voraus"
    "|merci|merci d'avance|merci beaucoup|gracias|muchas gracias|obrigado|obrigada|muito obrigado|muito obrigada|grazie"
    "|grazie mille|bedankt|dank u|alvast bedankt|dziękuję|dzięki|z góry dziękuję|tack|tack på förhand|tak"
    "|på forhånd tak|takk"
    "|på forhånd takk|kiitos|kiitoksia|děkuji|děkuji předem|köszönöm|előre is köszönöm|teşekkürler|teşekkür ederim|спасибо"
    "|заранее спасибо|благодарю|תודה|תודה רבה|谢谢|谢谢您|謝謝|ありがとうございます|감사합니다|고맙습니다"
)  # fmt: skip

#: Lines that a telephone or a program adds below a text.
SENT_FROM = re.compile(
    r"(?:sent from (?:my |mail\b|yahoo|outlook|samsung|gmail|android|the all[- ]new|proton|an? (?:iphone|ipad|mobile))"
    r"|sent (?:via|with) (?:proton|blackberry|my |the |samsung|shortwave|superhuman)|get outlook for|get yahoo mail"
    r"|von meinem .{1,30} gesendet|gesendet von|gesendet mit|gesendet aus|outlook für .{1,40} beziehen"
    r"|holen sie sich outlook"
    r"|envoyé (?:de|depuis|à partir de) |(?:obtenir|télécharger|obtenez) outlook"
    r"|enviado (?:desde|do meu|do |de meu|a partir d)"
    r"|(?:obtener|descargar|obtenga|obter o?|obtenha o?|baixar o?) ?outlook|inviato da|ottieni outlook|scarica outlook"
    r"|(?:verzonden|verstuurd|verstuurd met|verzonden met) (?:vanaf|vanuit|met) |outlook voor .{1,40} downloaden"
    r"|(?:wysłane|wysłano) z |pobierz (?:program )?outlook|uzyskaj outlook|skickat från |hämta outlook"
    r"|sendt fra |hent outlook"
    r"|(?:skaff deg|få|last ned) outlook|lähetetty .{0,30}(?:sta|stä|lta|ltä|lla|llä)\b|hanki outlook"
    r"|odesláno z|získ(?:at|ejte) "
    r"outlook|(?:az )?.{0,20}iphone-?om?ról küldve|(?:iphone|ipad|android|samsung).{0,20} küldve|.{1,30}d[ae]n gönderildi"
    r"|outlook .{0,20}edinin|отправлено (?:с|со|из) |получить outlook|скачать outlook|נשלח מ|发自我的|发自我|發自我的"
    r"|(?:从|從)我的.{1,20}(?:发送|傳送)|傳送自|发送自|获取 outlook|取得 outlook|.{1,20}から送信|outlook .{0,20}を入手"
    r"|나의 .{1,20}에서 보냄|.{1,20}에서 보냄|outlook .{0,20}다운로드)"
)

#: How a paragraph about confidentiality begins, and what must be in it besides.
DISCLAIMER = re.compile(
    r"[\W_]*(?:confidential|privileged|disclaimer|important(?: notice)?\b|notice\b|legal notice"
    r"|this (?:e-?mail|message|communication|transmission)|the (?:information|contents?)|vertraulich|hinweis"
    r"|diese (?:e-?mail|nachricht|mail)|der inhalt dieser"
    r"|ce (?:message|courriel|mail)|cet? e-?mail|le présent message|avis|aviso"
    r"|este (?:mensaje|correo|e-?mail)|esta mensagem"
    r"|la información|avvertenza|avviso|questo messaggio|quest[ao] e-?mail|le informazioni|dit (?:bericht|e-?mail)"
    r"|deze (?:e-?mail|mail)|de informatie|(?:ta|niniejsza) wiadomość|detta (?:meddelande|e-?post|e-?mail|mail)"
    r"|denne (?:e-?mail|e-?post|mail|meddelelse|melding)|tämä (?:viesti|sähköposti)|tento e-?mail|tato (?:zpráva|e-?mail)"
    r"|ez az? (?:e-?mail|üzenet|levél)|bu (?:e-?posta|mesaj|ileti)|(?:это|данное|настоящее) (?:сообщение|письмо)|הודעה זו"
    r"|(?:本|此|这封|這封)(?:电子|電子)?(?:邮件|郵件|信)|(?:この|本)(?:電子)?メール|(?:이|본) (?:전자)?(?:메일|우편))"
)
CONFIDENTIAL = _texts(
    "confiden|privileg|vertraul|vertrouwel|riservat|poufn|konfidenti|fortroli|förtroli|luottamuk|důvěrn"
    "|bizalmas|gizli|конфиден"
    "|חסוי|סודי|机密|機密|保密|기밀|비밀|秘密"
)  # fmt: skip
RECIPIENT = _texts(
    "recipient|addressee|empfänger|adressat|destinat|ontvanger|geadresseerde|adresat|mottagar|modtager"
    "|mottaker|vastaanottaj"
    "|adresát|příjemc|címzett|alıcı|получател|адресат|נמען|收件人|接收|收件者|受信者|宛先|수신"
)  # fmt: skip
