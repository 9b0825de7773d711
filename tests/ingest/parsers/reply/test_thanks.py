"""Replies that say only thanks, and replies that say more."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.parsers.reply.thanks import MAX_REPLY_LENGTH, find_thanks

ONLY_THANKS = [
    "Thanks", "Thank you!", "Thanks,\nAna", "Thank you so much for your help!",
    "Hi Mara,\n\nthanks a lot.\n\nBest regards,\nAna Bell", "Perfect, thank you! 🙏",
    "Great, thanks again for the quick reply :)", "Thank you, that worked!", "Got it. Thanks Mara!",
    "Many thanks for getting back to me.\nHave a great weekend!", "thx", "Much appreciated.",
    "Awesome!!! Thank you all 😊👍", "Dear Ms. Lind,\nthank you very much for looking into this.\nSincerely,\nAna",
    "OK, thank you. You can close the ticket.", "Vielen Dank!",
    "Danke schön für Ihre schnelle Hilfe.\n\nMit freundlichen Grüßen\nAna Bell", "Hallo Frau Lind,\nbesten Dank 👍\nLG Ana",
    "Super, danke!", "Merci beaucoup !", "Bonjour,\n\nmerci pour votre réponse rapide.\n\nCordialement,\nAna Bell",
    "Parfait, merci. Bonne journée", "¡Muchas gracias!", "Hola Mara:\nmuchas gracias por su ayuda.\nSaludos,\nAna",
    "Muito obrigada pela ajuda!", "Obrigado.\nAtenciosamente,\nAna", "Grazie mille!",
    "Perfetto, grazie ancora. Buona giornata", "Hartelijk bedankt voor uw hulp!\nMet vriendelijke groet,\nAna",
    "Dank u wel", "Dziękuję bardzo za pomoc.\nPozdrawiam\nAna", "Dzięki!", "Tack så mycket för hjälpen!",
    "Hej Mara,\ntack!\nMvh Ana", "Mange tak for hjælpen.", "Tusen takk for hjelpen!\nMed vennlig hilsen\nAna",
    "Kiitos paljon avusta!", "Kiitos!\nTerveisin\nAna", "Děkuji za rychlou odpověď.\nS pozdravem\nAna",
    "Köszönöm szépen a segítséget!\nÜdvözlettel,\nAna", "Çok teşekkür ederim.", "Teşekkürler, iyi günler",
    "Спасибо большое за помощь!", "Здравствуйте!\nСпасибо, всё работает.\nС уважением,\nAna", "תודה רבה על העזרה!",
    "שלום, תודה!\nבברכה,\nAna", "谢谢！", "好的，非常感谢您的帮助。", "謝謝您的幫忙！", "ありがとうございました。",
    "田中様\n\nご対応ありがとうございます。\nよろしくお願いいたします。", "감사합니다!",
    "네, 알겠습니다. 감사합니다.\nAna 드림",
]  # fmt: skip
SAYS_MORE = [
    "", "Hello", "Great!", "Thanks, but it is still wrong.", "Thank you. When will it be paid?",
    "Thanks! Please also resend the October statement.", "Thank you for your help with claim 88.",
    "No, thanks for nothing, the claim is still denied", "Thanks.\nThe amount is wrong.", "Thanks\nUrgent",
    "Thanks. Claim Denied", "thanks call me", "Thank you, I will send it tomorrow.", "Yes, thanks",
    "Danke, aber die Rechnung fehlt noch.", "Danke. Wann kommt die Rechnung", "Merci, mais il manque une page",
    "Gracias, pero falta una factura", "Obrigada, mas falta a fatura", "Grazie, però manca la fattura",
    "Bedankt, maar de factuur klopt niet", "Dziękuję, ale faktura jest błędna", "Tack, men fakturan är fel",
    "Tak, men fakturaen er forkert", "Kiitos, mutta lasku on väärin", "Děkuji, ale faktura je špatně",
    "Köszönöm, de a számla hibás", "Teşekkürler ama fatura yanlış", "Спасибо, но счёт неверный", "תודה, אבל החשבונית שגויה",
    "谢谢，但是账单不对", "ありがとうございます。請求書を再送してください。", "감사합니다. 청구서를 다시 보내 주세요.",
    "Thanks https://oak.example/claim", "Thanks, ana@oak.example", "Thank you\n请取消", "Thanks " + "very " * 100 + "much",
]  # fmt: skip


@pytest.mark.parametrize("reply", ONLY_THANKS)
def test_reply_with_only_thanks_is_recognised_with_its_reason(reply: str) -> None:
    reason = find_thanks(reply, "Ana Bell")
    assert reason is not None
    assert (reason.code, reason.text.startswith("It only says thanks (")) == ("only_thanks", True)


@pytest.mark.parametrize("reply", SAYS_MORE)
def test_reply_that_says_more_is_not_only_thanks(reply: str) -> None:
    assert find_thanks(reply, "Ana Bell") is None


@pytest.mark.parametrize(("reply", "language"), [("Vielen Dank", "German"), ("Grazie mille", "Italian"), ("谢谢", "Chinese")])
def test_the_reason_names_the_language(reply: str, language: str) -> None:
    reason = find_thanks(reply)
    assert reason is not None and language in reason.text


def test_unknown_name_below_thanks_needs_capitals() -> None:
    assert find_thanks("Thanks,\nDee Earl", "Front Desk") is not None
    assert find_thanks("Thanks,\ndee earl", "Front Desk") is None
    assert find_thanks("Thanks,\nfront desk", "Front Desk") is not None


@given(st.text(max_size=60), st.sampled_from(ONLY_THANKS))
@settings(max_examples=200, deadline=None)
def test_no_text_raises_and_a_question_is_never_only_thanks(text: str, thanks: str) -> None:
    find_thanks(text, text)
    assert find_thanks(f"{thanks} {text}?") is None


@pytest.mark.parametrize("unit", ["thanks ", "thank you very much ", "A ", "danke für ", "ご", ".", "so ", "много "])
def test_text_of_maximum_length_is_read_quickly(unit: str) -> None:
    start = time.process_time()
    for _ in range(20):
        find_thanks((unit * MAX_REPLY_LENGTH)[:MAX_REPLY_LENGTH])
    assert time.process_time() - start < 2
