"""The phrases that mail programs and people put around a quote and below a text, in the languages of our customers. Tables only.

Everything is folded as :func:`ingest.parsers.reply.lines.fold` does it: lower case, plain spaces, straight apostrophes.
"""

from __future__ import annotations

import re


def _split_phrases(texts: str) -> frozenset[str]:
    return frozenset(texts.split("|"))


#: A mail with this label is Finnish and uses "VS:" for replies; Danish and Norwegian mails use it for forwards.
FINNISH_SENDER = "lähettäjä"

#: The verb of an attribution, or the words that replace it.
ATTRIBUTION_VERB = re.compile(
    r"\b(?:wrote|writes|schrieb|geschrieben|a écrit|a ecrit|écrivait|escribió|escribio|ha escrito|escreveu|ha scritto|schreef"
    r"|napisał|napisała|napisał\(a\)|napisana|napisany|pisze|skrev|kirjoitti|napsal|napsala|napsal\(a\)"
    r"|napísal|ezt írta|írta"
    r"|yazdı|yazmış|написал|написала|написал\(а\)|пишет|писал|писала|quoting|zitat von|citando|citando a|citation de|dixit)"
    r"(?!\w)|כתב|בתאריך|写道|寫道|写到|寫到|写了|のメール|のメッセージ|書きました|さんは書|작성|썼습니다|님이 씀"
)
#: The first word of an attribution that begins with a date.
ATTRIBUTION_START = re.compile(
    r"[\s\"'(]*(?:on|at|am|le|el|em|il|op|dnia|w dniu|den|dne|в|在|於|于|בתאריך|2\d{3}[年년.])(?=\W|\d)"
)

#: Closings that people write only above a name.
REGARDS = _split_phrases(
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
#: Closings that can also be the whole message: they count only below other text.
THANKS_CLOSINGS = _split_phrases(
    "thanks|thank you|many thanks|thanks a lot|thanks so much|thank you so much|thanks again|thanks in advance"
    "|thank you in advance|thx|thanks and regards|thanks & regards|danke|vielen dank|besten dank"
    "|herzlichen dank|danke im voraus"
    "|merci|merci d'avance|merci beaucoup|gracias|muchas gracias|obrigado|obrigada|muito obrigado|muito obrigada|grazie"
    "|grazie mille|bedankt|dank u|alvast bedankt|dziękuję|dzięki|z góry dziękuję|tack|tack på förhand|tak"
    "|på forhånd tak|takk"
    "|på forhånd takk|kiitos|kiitoksia|děkuji|děkuji předem|köszönöm|előre is köszönöm|teşekkürler|teşekkür ederim|спасибо"
    "|заранее спасибо|благодарю|תודה|תודה רבה|谢谢|谢谢您|謝謝|ありがとうございます|감사합니다|고맙습니다"
)  # fmt: skip

#: Lines that a telephone or a mail program adds below a text.
SENT_FROM = re.compile(
    r"(?:sent from (?:my |mail\b|yahoo|outlook|samsung|gmail|android|the all[- ]new|proton|an? (?:iphone|ipad|mobile))"
    r"|sent (?:via|with) (?:proton|blackberry|my |the |samsung|shortwave|superhuman)|get outlook for|get yahoo mail"
    r"|von meinem .{1,30} gesendet|gesendet von|gesendet mit|gesendet aus|outlook für .{1,40} beziehen"
    r"|holen sie sich outlook"
    r"|envoyé (?:de|depuis|à partir de) |(?:obtenir|télécharger|obtenez) outlook"
    r"|enviado (?:desde|do meu|do |de meu|a partir d)"
    r"|(?:obtener|descargar|obtenga|obter o?|obtenha o?|baixar o?) ?outlook|inviato da|ottieni outlook|scarica outlook"
    r"|(?:verzonden|verstuurd|verstuurd met|verzonden met) (?:vanaf|vanuit|met) |outlook voor .{1,40} downloaden"
    r"|(?:wysłane|wysłano) z |pobierz (?:program |aplikację )?outlook|uzyskaj outlook|skickat från |hämta outlook"
    r"|sendt fra |hent outlook"
    r"|(?:skaff deg|få|last ned) outlook|lähetetty .{0,30}(?:sta|stä|lta|ltä|lla|llä)\b|hanki outlook"
    r"|odesláno z|získ(?:at|ejte) "
    r"outlook|(?:az )?.{0,20}iphone-?om?ról küldve|(?:iphone|ipad|android|samsung).{0,20} küldve|.{1,30}d[ae]n gönderildi"
    r"|outlook .{0,20}edinin|.{1,12}için outlook.{0,4}(?:edinin|alın|indirin)"
    r"|az outlook .{1,40}(?:beszerzése|letöltése)"
    r"|отправлено (?:с|со|из) |получить outlook|скачать outlook|נשלח מ|发自我的|发自我|發自我的"
    r"|(?:从|從)我的.{1,20}(?:发送|傳送)|傳送自|发送自|获取 outlook|取得 outlook|.{1,20}から送信|outlook .{0,20}を入手"
    r"|.{1,12}版 ?outlook ?を(?:入手|取得)|下载 ?适用于.{1,12}的 ?outlook"
    r"|나의 .{1,20}에서 보냄|.{1,20}에서 보냄|outlook .{0,20}다운로드|.{1,12}용 outlook .{0,4}다운로드)"
)

#: The start of a confidentiality notice. It must also contain a word of CONFIDENTIAL and one of RECIPIENT.
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
CONFIDENTIAL = _split_phrases(
    "confiden|privileg|vertraul|vertrouwel|riservat|poufn|konfidenti|fortroli|förtroli|luottamuk|důvěrn"
    "|bizalmas|gizli|конфиден"
    "|חסוי|סודי|机密|機密|保密|기밀|비밀|秘密"
)  # fmt: skip
RECIPIENT = _split_phrases(
    "recipient|addressee|empfänger|adressat|destinat|ontvanger|geadresseerde|adresat|mottagar|modtager"
    "|mottaker|vastaanottaj"
    "|adresát|příjemc|címzett|alıcı|получател|адресат|נמען|收件人|接收|收件者|受信者|宛先|수신"
)  # fmt: skip
