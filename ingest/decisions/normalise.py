"""Normalise parsed mails, forms and rows into submissions, the input of :mod:`tickets.intake`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from core.reasons import Reason
from core.settings.sections import Form
from ingest.decisions import thread_tokens
from ingest.decisions.classify import Classification
from ingest.decisions.forwards import with_original
from ingest.decisions.mail_rules import MailRules
from ingest.parsers.mail.addresses import read_mailbox
from ingest.parsers.reply.thanks import find_thanks
from ingest.parsers.types import FormField, ParsedAttachment, ParsedForm, ParsedMail
from tickets.submission import Submission, SubmittedFile, TicketSource

NO_SUBJECT, NO_TEXT = "(no subject)", "(no text)"

#: Common labels of form fields, normalised → their meaning; a form's configured ``labels`` take precedence.
COMMON_LABELS = {
    "email": "requester_email",
    "email address": "requester_email",
    "your email": "requester_email",
    "contact email": "requester_email",
    "contact": "requester_name",
    "contact name": "requester_name",
    "name": "requester_name",
    "your name": "requester_name",
    "practice": "company",
    "practice name": "company",
    "company": "company",
    "company name": "company",
    "account number": "account_number",
    "phone": "phone",
    "phone number": "phone",
    "subject": "subject",
    "type of request": "category",
    "category": "category",
    "issue": "issue",
    "issue detail": "issue_detail",
    "details": "details",
    "description": "details",
    "message": "details",
    "comments": "details",
    "preferred contact method": "preferred_contact",
}


def from_mail(
    mail: ParsedMail, classification: Classification, rules: MailRules, item_id: int, received_at: datetime
) -> Submission:
    """Return a mail as a submission.

    ``text`` is the new text of the mail, with quote and signature beside it; without new text it is the whole body, and
    :data:`NO_TEXT` for an empty body.
    """
    text = mail.reply if mail.reply.strip() else mail.body if mail.body.strip() else NO_TEXT
    missing = []
    if not mail.subject:
        missing.append("the mail has no subject")
    if not mail.body.strip():
        missing.append("the mail has no text")
    if mail.from_addr is None:
        missing.append("the sender's address could not be read with certainty")
    replies_to, marker = thread_tokens.answered_ticket(mail, rules), thread_tokens.linked_ticket(mail, rules)
    answers = thread_tokens.answered_keys(mail)
    notes = [*mail.notes, *(["reply_signature_wrong"] if thread_tokens.has_forged_token(mail, rules) else [])]
    submission = Submission(
        source=TicketSource.EMAIL,
        received_at=received_at,
        subject=mail.subject or NO_SUBJECT,
        text=text,
        quoted=mail.quoted if text is mail.reply else "",
        signature=mail.signature if text is mail.reply else "",
        item_id=item_id,
        email=mail.from_addr,
        name=mail.from_name or "",
        category=rules.category,
        files=tuple(_file(attachment) for attachment in mail.attachments),
        missing=tuple(missing),
        reasons=(classification.reason,),
        silence=classification.silence,
        verified=mail.authentication.passed if mail.authentication else None,
        automatic=mail.is_auto,
        autoresponse=mail.is_auto and not mail.is_list,
        message_key=thread_tokens.mail_key(mail.message_id) if mail.message_id else None,
        message_id=mail.message_id,
        replies_to=replies_to,
        answers=answers,
        quoted_ticket_id=marker,
        subject_tag=thread_tokens.tagged_ticket(mail),
        thanks=_thanks(mail, text) if replies_to or answers or marker else None,
        details=tuple(("note", note) for note in notes),
    )
    if mail.forward is None:
        return submission
    return with_original(submission, mail, tuple(_file(one) for one in mail.forward.files), rules)


def _thanks(mail: ParsedMail, text: str) -> Reason | None:
    """Return why a reply is known to say thanks and nothing else; a reply with a document says more."""
    return None if any(map(_is_document, mail.attachments)) else find_thanks(text, mail.from_name or "")


def from_form(form: ParsedForm, settings: Form, item_id: int, received_at: datetime) -> Submission:
    """Return a Formstack submission: known labels become fields, and the text keeps all answers and the link to Formstack."""
    known = form_values(form, settings)
    email = read_mailbox(known.get("requester_email", ""))
    link = settings.submission_link.replace("{submission}", form.submission_id).replace("{form}", form.form_id)
    details = known.get("details", "")
    answers = [f"{field.key}: {field.text}" for field in form.fields if field.text and field.text != details]
    parts = [details, "\n".join(answers), f"Formstack submission: {link}"]
    return Submission(
        source=TicketSource.FORMSTACK,
        received_at=received_at,
        subject=known.get("subject", "") or _form_subject(known, settings),
        text="\n\n".join(part for part in parts if part),
        item_id=item_id,
        email=email,
        name=known.get("requester_name", ""),
        phone=known.get("phone", ""),
        company=known.get("company", ""),
        account_number=known.get("account_number", ""),
        category=known.get("category", "") or settings.category,
        issue=known.get("issue", ""),
        issue_detail=known.get("issue_detail", ""),
        preferred_contact=known.get("preferred_contact", "email").casefold(),
        link=link,
        missing=_form_missing(known, email),
        reasons=(Reason("form_submission", f"The form {settings.name} was filled in"),),
        details=tuple(("note", note) for note in form.notes),
    )


def form_values(form: ParsedForm, settings: Form) -> dict[str, str]:
    """Return meaning → first answer with it, by the form's configured labels, then by common ones, then by field type."""
    own = {label.casefold(): meaning for label, meaning in settings.labels.items()}
    values: dict[str, str] = {}
    for field in form.fields:
        meaning = own.get(field.key.casefold()) or COMMON_LABELS.get(_normalise_label(field.key))
        if meaning and field.text:
            values.setdefault(meaning, field.text)
    _add_by_type(form, values)
    return values


def from_row(
    fields: Mapping[str, str], extra: Mapping[str, str], item_id: int, received_at: datetime, category: str
) -> Submission:
    """Return a secure message, a row of a workbook, as a submission; ``fields`` is by meaning, ``extra`` by column."""
    email = read_mailbox(fields.get("sender_email", ""))
    thread = fields.get("thread_id")
    known = (("reference", "Reference"), ("attachment_names", "Attachments in the practice software"), ("sent_at", "Sent"))
    details = [(label, fields[name]) for name, label in known if fields.get(name)]
    if email is None and fields.get("sender_email"):
        details.append(("Sender email, as received", fields["sender_email"]))
    return Submission(
        source=TicketSource.SECURE_MESSAGE,
        received_at=received_at,
        subject=fields.get("subject", ""),
        text=fields.get("message", "") or fields.get("subject", ""),
        item_id=item_id,
        email=email,
        name=fields.get("sender_name", ""),
        phone=fields.get("phone", ""),
        company=fields.get("company", ""),
        account_number=fields.get("account_number", ""),
        category=fields.get("category", "") or category,
        missing=_row_missing(fields, email),
        reasons=(Reason("secure_message", "A secure message from the practice software"),),
        thread_key=f"secure_message:{thread}" if thread else None,
        details=(*details, *extra.items()),
    )


def _row_missing(fields: Mapping[str, str], email: str | None) -> tuple[str, ...]:
    wanted = (
        ("sender_email", "the row has no sender email"),
        ("subject", "the row has no subject"),
        ("message", "the row has no message text"),
    )
    missing = [text for name, text in wanted if not fields.get(name)]
    if email is None and fields.get("sender_email"):
        missing.insert(0, "the row's sender email is no valid address")
    return tuple(missing)


def from_unreadable(kind: str, item_id: int, reason: Reason, received_at: datetime) -> Submission:
    """Return a submission whose ticket asks staff to look at an item that could not be read."""
    return Submission(
        source=TicketSource.FORMSTACK
        if kind == "form"
        else TicketSource.SECURE_MESSAGE
        if kind in ("workbook", "row")
        else TicketSource.EMAIL,
        received_at=received_at,
        subject=f"An item that arrived could not be read (item {item_id})",
        text=f"{reason.text}\n\nThe original is stored: casemill quarantine show {item_id}",
        item_id=item_id,
        missing=("everything: the item could not be read",),
        reasons=(reason,),
        silence=reason,
    )


def from_oversize(mail: ParsedMail, size: int, classification: Classification, item_id: int, received_at: datetime) -> Submission:
    """Return a submission for a message above the size limit, of which only the headers were fetched; ``size`` is in bytes."""
    return Submission(
        source=TicketSource.EMAIL,
        received_at=received_at,
        subject=mail.subject or NO_SUBJECT,
        text=f"The message is too large to be fetched ({size / 1_048_576:.1f} MB). It is still in the mailbox.",
        item_id=item_id,
        email=mail.from_addr,
        name=mail.from_name or "",
        missing=("the text and the attachments: the message is too large",),
        reasons=(Reason("oversize", "The message is larger than the limit; only its headers were fetched"),),
        silence=classification.silence,
        verified=mail.authentication.passed if mail.authentication else None,
        automatic=mail.is_auto,
    )


def _is_document(file: ParsedAttachment) -> bool:
    """Return whether a file is more than an image in the text; some mail programs mark every file as inline."""
    return not file.inline or not file.type.startswith("image/")


def _file(attachment: ParsedAttachment) -> SubmittedFile:
    return SubmittedFile(
        attachment.name,
        attachment.type,
        attachment.sniffed,
        attachment.size,
        attachment.sha256,
        attachment.inline,
        attachment.content,
    )


def _normalise_label(label: str) -> str:
    return " ".join(label.replace("_", " ").casefold().split())


def _add_by_type(form: ParsedForm, values: dict[str, str]) -> None:
    """Add answers whose field type gives their meaning, for forms that send field ids without configured labels."""
    for field in form.fields:
        meaning = {"email": "requester_email", "phone": "phone"}.get(field.field_type or "") or _meaning_of_name(field)
        if meaning and field.text:
            values.setdefault(meaning, field.text)


def _meaning_of_name(field: FormField) -> str | None:
    return "requester_name" if field.field_type == "name" or {"first", "last"} <= set(field.parts) else None


def _form_subject(known: Mapping[str, str], settings: Form) -> str:
    what = known.get("category") or settings.name
    return f"{what} – {known['company']}" if known.get("company") else what


def _form_missing(known: Mapping[str, str], email: str | None) -> tuple[str, ...]:
    wanted = (
        ("requester_name", "the form names no person"),
        ("company", "the form names no practice"),
        ("phone", "the form gives no telephone number"),
        ("category", "the form gives no type of request"),
        ("details", "the form gives no details"),
    )
    missing = [text for name, text in wanted if not known.get(name)]
    if email is None:
        missing.insert(0, "the form gives no valid email address")
    return tuple(missing)
