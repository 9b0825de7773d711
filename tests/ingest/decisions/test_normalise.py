from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from core.reasons import Reason
from core.settings.sections import Form
from ingest.decisions import normalise
from ingest.decisions.classify import Classification
from ingest.decisions.mail_rules import MailRules
from ingest.parsers.form.submission import parse_form
from ingest.parsers.mail.message import parse_mail
from ingest.parsers.types import ParsedForm, ParsedMail, ParseOptions
from tests.ingest.support import RECEIVED, mail_with_file, make_mail
from tickets.submission import Submission, TicketSource

FORMS = Path(__file__).parents[2] / "corpus" / "forms"
PERSON = Classification("ticket", Reason("new_matter", "A person wrote"))
RULES = MailRules(frozenset(), "casemill.example", frozenset(), category="Claims")
WROTE = "On Mon, Nov 2, 2026 at 9:12 AM Support <support@casemill.example> wrote:"
ROW = {
    "message_id": "17",
    "sent_at": "2026-11-19",
    "company": "Riverside Family Clinic",
    "account_number": "00123",
    "sender_name": "Ben Ortiz",
    "sender_email": "Ben@Riverside.example",
    "phone": "(555) 010-4477",
    "subject": "Statement",
    "message": "Please resend it.",
    "reference": "88-2041",
}


def read_mail(raw: bytes) -> ParsedMail:
    mail = parse_mail(raw, ParseOptions())
    assert isinstance(mail, ParsedMail)
    return mail


def from_mail(raw: bytes, classification: Classification = PERSON) -> Submission:
    return normalise.from_mail(read_mail(raw), classification, RULES, 7, RECEIVED)


def read_form(raw: bytes, content_type: str = "application/json") -> ParsedForm:
    form = parse_form(raw, ParseOptions(content_type=content_type))
    assert isinstance(form, ParsedForm)
    return form


def from_form(form: ParsedForm, **settings: object) -> Submission:
    section = Form.model_validate({"name": "Billing questions", "unsigned": True, **settings})
    return normalise.from_form(form, section, 7, RECEIVED)


def make(**fields: object) -> ParsedForm:
    return read_form(json.dumps({"FormID": "1", "UniqueID": "2", **fields}).encode())


def from_row(**fields: str) -> Submission:
    return normalise.from_row({key: text for key, text in fields.items() if text}, {}, 7, RECEIVED, "Secure messages")


# -- mail


def test_mail_becomes_a_submission_with_its_values() -> None:
    submission = from_mail(make_mail(3))
    assert submission.source is TicketSource.EMAIL
    assert (submission.item_id, submission.received_at) == (7, RECEIVED)
    assert (submission.subject, submission.text.strip()) == ("Claim 3", "Claim 88-2041 was denied.")
    assert (submission.email, submission.name) == ("dana3@riverside.example", "Dana Ortiz")
    assert (submission.category, submission.missing, submission.silence) == ("Claims", (), None)
    assert submission.reasons == (PERSON.reason,)


def test_missing_parts_of_a_mail_get_placeholders_and_are_listed() -> None:
    submission = from_mail(b"From: a@b.example, c@d.example\r\nDate: Fri, 20 Nov 2026 09:15:00 +0000\r\n\r\n \r\n")
    assert (submission.subject, submission.text, submission.email) == ("(no subject)", "(no text)", None)
    assert submission.missing == (
        "the mail has no subject", "the mail has no text", "the sender's address could not be read with certainty",
    )  # fmt: skip


def test_new_text_is_separated_from_quote_and_signature() -> None:
    submission = from_mail(make_mail(body=f"It is paid.\r\n\r\n-- \r\nDana\r\n\r\n{WROTE}\r\n> Paid?"))
    assert (submission.text, submission.signature) == ("It is paid.", "-- \nDana")
    assert submission.quoted == f"{WROTE}\n> Paid?"


def test_mail_without_new_text_keeps_its_whole_body_as_text() -> None:
    submission = from_mail(make_mail(body=f"{WROTE}\r\n> Paid?"))
    assert (submission.text, submission.quoted, submission.missing) == (f"{WROTE}\n> Paid?", "", ())


def test_reply_that_only_says_thanks_is_recognised_unless_a_file_is_attached() -> None:
    answers = ("In-Reply-To: <earlier@billing.example>",)
    submission = from_mail(make_mail(body=f"Thank you!\r\nDana\r\n\r\n{WROTE}\r\n> It is paid.", headers=answers))
    assert submission.thanks is not None and submission.thanks.code == "only_thanks"
    assert from_mail(make_mail(body="Thank you! Is it paid?", headers=answers)).thanks is None
    with_file = mail_with_file("scan.pdf", b"%PDF-1.7 content").replace(b"The export of today.", b"Thanks.")
    with_file = b"In-Reply-To: <earlier@billing.example>\r\n" + with_file
    assert b"Thanks." in with_file and from_mail(with_file).thanks is None
    called_inline = with_file.replace(b"Content-Transfer", b"Content-Disposition: inline\r\nContent-Transfer")
    assert from_mail(called_inline).files[0].inline and from_mail(called_inline).thanks is None


def test_mail_that_is_no_reply_is_not_checked_for_thanks() -> None:
    assert from_mail(make_mail(body="Thank you!")).thanks is None


def test_silence_of_the_classification_is_kept_in_the_submission() -> None:
    silent = Classification(
        "ticket", Reason("automatic_mail", "It was sent automatically"), Reason("automatic_mail", "It was sent automatically")
    )
    assert from_mail(make_mail(), silent).silence == silent.silence


def test_files_keep_their_name_hash_and_bytes() -> None:
    (file,) = from_mail(mail_with_file("scan.pdf", b"%PDF-1.7 content")).files
    assert (file.name, file.size, file.content) == ("scan.pdf", 16, b"%PDF-1.7 content")
    assert len(file.sha256) == 64


def test_parser_notes_are_kept_as_details() -> None:
    mail = msgspec.structs.replace(read_mail(make_mail()), notes=("date_unreadable",))
    submission = normalise.from_mail(mail, PERSON, RULES, 7, RECEIVED)
    assert submission.details == (("note", "date_unreadable"),)


def test_oversize_message_says_its_size_and_that_it_is_still_in_the_mailbox() -> None:
    submission = normalise.from_oversize(read_mail(make_mail(3)), 41_943_040, PERSON, 7, RECEIVED)
    assert submission.subject == "Claim 3"
    assert submission.text == "The message is too large to be fetched (40.0 MB). It is still in the mailbox."
    assert submission.missing == ("the text and the attachments: the message is too large",)
    assert submission.email == "dana3@riverside.example"


# -- forms


def test_form_with_labels_is_mapped_to_fields() -> None:
    form = read_form((FORMS / "webhook-json-labels.json").read_bytes())
    submission = from_form(form)
    assert submission.source is TicketSource.FORMSTACK
    assert (submission.name, submission.email) == ("Dana Ortiz", "dana.ortiz@riverside.example")
    assert submission.phone == "(555) 010-4477"
    assert (submission.company, submission.category) == ("Riverside Family Clinic", "Claim status question")
    assert submission.subject == "Claim status question – Riverside Family Clinic"
    assert submission.text.startswith("Claim 88-2041 was denied twice.\nPlease call me after 2 pm.\n\n")
    assert submission.missing == ()
    assert submission.reasons[0].text == "The form Billing questions was filled in"


def test_urlencoded_form_is_mapped_and_its_secret_is_not_stored() -> None:
    raw = (FORMS / "webhook-urlencoded.form").read_bytes()
    submission = from_form(read_form(raw, "application/x-www-form-urlencoded"))
    assert (submission.name, submission.email, submission.company) == (
        "Dana Ortiz", "dana.ortiz@riverside.example", "Riverside Family Clinic",
    )  # fmt: skip
    assert "Café ☕ 100% & more" in submission.text
    assert "demo-shared-secret" not in repr(submission)
    assert submission.missing == ("the form gives no telephone number",)


def test_form_with_field_ids_is_mapped_by_its_configured_labels() -> None:
    form = read_form((FORMS / "webhook-json-typed.json").read_bytes())
    labels = {"172000001": "company", "172000002": "requester_name", "172000005": "category"}
    submission = from_form(form, labels=labels)
    assert (submission.company, submission.name) == ("Riverside Family Clinic", "Dana Ortiz")
    assert submission.category == "Eligibility, Denials"
    # By the type of the field.
    assert submission.email == "dana.ortiz@riverside.example"


def test_form_with_field_ids_and_no_labels_is_mapped_by_its_field_types() -> None:
    submission = from_form(read_form((FORMS / "webhook-json-typed.json").read_bytes()), category="Other")
    assert (submission.name, submission.email) == ("Dana Ortiz", "dana.ortiz@riverside.example")
    assert (submission.company, submission.category, submission.subject) == ("", "Other", "Billing questions")
    assert "the form names no practice" in submission.missing
    assert "172000005: Eligibility, Denials" in submission.text


def test_configured_labels_take_precedence_over_common_ones() -> None:
    form = make(Email="front@clinic.example", **{"Who asks": "dana@clinic.example", "Details": "d"})
    assert from_form(form).email == "front@clinic.example"
    assert from_form(form, labels={"WHO ASKS": "requester_email", "email": "other"}).email == "dana@clinic.example"


def test_first_answer_that_is_not_empty_counts() -> None:
    form = make(**{"Practice": "", "Practice Name": "Riverside", "Company": "Other"})
    assert from_form(form).company == "Riverside"


def test_text_contains_all_answers() -> None:
    text = from_form(make(**{"Favourite colour": "green", "Empty": "", "Details": "Why?"})).text
    assert "Favourite colour: green" in text
    assert text.count("Why?") == 1
    assert "Empty" not in text


def test_missing_answers_of_a_form_are_listed() -> None:
    assert from_form(make(colour="green")).missing == (
        "the form gives no valid email address",
        "the form names no person",
        "the form names no practice",
        "the form gives no telephone number",
        "the form gives no type of request",
        "the form gives no details",
    )


@pytest.mark.parametrize("address", ["dana@", "dana ortiz@clinic.example", "a@b.example, c@d.example", "Dana <a@b.example>"])
def test_address_that_is_not_one_plain_mailbox_is_listed_as_missing(address: str) -> None:
    submission = from_form(make(email=address))
    assert submission.email is None
    assert submission.missing[0] == "the form gives no valid email address"
    assert f"email: {address}" in submission.text


def test_link_leads_to_the_submission() -> None:
    submission = from_form(read_form((FORMS / "webhook-json-labels.json").read_bytes()))
    assert submission.link == "https://www.formstack.com/admin/submission/view/1512345678/5512345"
    assert submission.text.endswith(f"Formstack submission: {submission.link}")


@pytest.mark.parametrize("name", ["path-as-submission-id", "arabic-digits", "no-form-id"])
def test_form_with_ids_that_are_no_digits_is_refused(name: str) -> None:
    answer = parse_form((FORMS / f"{name}.json").read_bytes(), ParseOptions(content_type="application/json"))
    assert not isinstance(answer, ParsedForm)


# -- rows


def test_row_becomes_a_submission_with_its_values() -> None:
    submission = from_row(**ROW, thread_id="T-1")
    assert submission.source is TicketSource.SECURE_MESSAGE
    assert (submission.email, submission.name, submission.phone) == ("ben@riverside.example", "Ben Ortiz", "(555) 010-4477")
    assert (submission.company, submission.account_number) == ("Riverside Family Clinic", "00123")
    assert (submission.subject, submission.text) == ("Statement", "Please resend it.")
    assert (submission.thread_key, submission.category) == ("secure_message:T-1", "Secure messages")
    assert submission.details == (("Reference", "88-2041"), ("Sent", "2026-11-19"))
    assert submission.missing == ()


def test_category_of_a_row_takes_precedence_over_that_of_its_source() -> None:
    assert from_row(**ROW, category="Denials").category == "Denials"


def test_missing_values_of_a_row_are_listed_and_its_subject_replaces_a_missing_text() -> None:
    submission = from_row(**ROW | {"sender_email": "", "message": ""})
    assert submission.email is None
    assert submission.text == "Statement"
    assert submission.missing == ("the row has no sender email", "the row has no message text")
    assert from_row(**ROW | {"subject": ""}).missing == ("the row has no subject",)
    assert submission.thread_key is None


def test_invalid_sender_email_of_a_row_is_listed_as_missing() -> None:
    submission = from_row(**ROW | {"sender_email": "ask the front desk"})
    assert submission.email is None
    assert submission.missing == ("the row's sender email is no valid address",)
    assert ("Sender email, as received", "ask the front desk") in submission.details


def test_unrecognised_columns_of_a_row_are_kept_as_details_of_the_ticket() -> None:
    submission = normalise.from_row(ROW, {"Provider": "Dr. Lee"}, 7, RECEIVED, "")
    assert ("Provider", "Dr. Lee") in submission.details


# -- unreadable items


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("mail", TicketSource.EMAIL),
        ("form", TicketSource.FORMSTACK),
        ("workbook", TicketSource.SECURE_MESSAGE),
        ("row", TicketSource.SECURE_MESSAGE),
    ],
)
def test_unreadable_item_becomes_a_submission_without_automatic_mail(kind: str, source: TicketSource) -> None:
    reason = Reason("unreadable", "It could not be read within its limits")
    submission = normalise.from_unreadable(kind, 7, reason, RECEIVED)
    assert submission.source is source
    assert (submission.email, submission.silence) == (None, reason)
    assert "casemill quarantine show 7" in submission.text
    assert submission.missing == ("everything: the item could not be read",)
