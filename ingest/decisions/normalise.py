"""Parsed values become Submissions: the one shape that goes on. Pure."""

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

#: Labels that forms commonly use, folded → what they mean; a form's own ``labels`` come first.
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
MEANINGS = frozenset(COMMON_LABELS.values())


def from_mail(mail: ParsedMail, verdict: Classification, rules: MailRules, item_id: int, received_at: datetime) -> Submission:
    """A mail as a submission: what is new and the rest beside it, all of it where nothing is new, placeholders for nothing."""
    text = mail.reply if mail.reply.strip() else mail.body if mail.body.strip() else NO_TEXT
    missing = []
    if not mail.subject:
        missing.append("the mail has no subject")
    if not mail.body.strip():
        missing.append("the mail has no text")
    if mail.from_addr is None:
        missing.append("the sender's address could not be read with certainty")
    replies_to, marker = thread_tokens.answered_ticket(mail, rules), thread_tokens.marked_ticket(mail, rules)
    answers = thread_tokens.answered_keys(mail)
    notes = [*mail.notes, *(["reply_signature_wrong"] if thread_tokens.is_forged(mail, rules) else [])]
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
        reasons=(verdict.reason,),
        silence=verdict.silence,
        verified=mail.authentication.passed if mail.authentication else None,
        automatic=mail.is_auto,
        autoresponse=mail.is_auto and not mail.is_list,
        message_key=thread_tokens.mail_key(mail.message_id) if mail.message_id else None,
        message_id=mail.message_id,
        replies_to=replies_to,
        answers=answers,
        marker=marker,
        subject_tag=thread_tokens.tagged_ticket(mail),
        thanks=_thanks(mail, text) if replies_to or answers or marker else None,
        details=tuple(("note", note) for note in notes),
    )
    if mail.forward is None:
        return submission
    return with_original(submission, mail, tuple(_file(one) for one in mail.forward.files), rules)


def _thanks(mail: ParsedMail, text: str) -> Reason | None:
    """Only of an answer to something anybody asks whether it says thanks and nothing else."""
    return None if any(map(_is_document, mail.attachments)) else find_thanks(text, mail.from_name or "")


def from_form(form: ParsedForm, settings: Form, item_id: int, received_at: datetime) -> Submission:
    """A Formstack submission: known labels become fields, all answers stay readable, the link leads to Formstack."""
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
        reasons=(Reason("form_submission", f"Somebody filled in {settings.name}"),),
        details=tuple(("note", note) for note in form.notes),
    )


def form_values(form: ParsedForm, settings: Form) -> dict[str, str]:
    """What the answers mean: the first answer for each meaning, by the form's own labels, then by common ones."""
    own = {label.casefold(): meaning for label, meaning in settings.labels.items()}
    values: dict[str, str] = {}
    for field in form.fields:
        meaning = own.get(field.key.casefold()) or COMMON_LABELS.get(_folded(field.key))
        if meaning and field.text:
            values.setdefault(meaning, field.text)
    _by_type(form, values)
    return values


def from_row(
    fields: Mapping[str, str], extra: Mapping[str, str], item_id: int, received_at: datetime, category: str
) -> Submission:
    """One secure message, a row of a workbook."""
    email = read_mailbox(fields.get("sender_email", ""))
    thread = fields.get("thread_id")
    known = (("reference", "Reference"), ("attachment_names", "Attachments in the practice software"), ("sent_at", "Sent"))
    details = [(label, fields[name]) for name, label in known if fields.get(name)]
    if email is None and fields.get("sender_email"):
        details.append(("Sender email, as it stands", fields["sender_email"]))
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


def unreadable(kind: str, item_id: int, reason: Reason, received_at: datetime) -> Submission:
    """A ticket that says that an item could not be read, so that somebody looks at it."""
    return Submission(
        source=TicketSource.FORMSTACK
        if kind == "form"
        else TicketSource.SECURE_MESSAGE
        if kind in ("workbook", "row")
        else TicketSource.EMAIL,
        received_at=received_at,
        subject=f"An item that arrived could not be read (item {item_id})",
        text=f"{reason.text}\n\nThe original is kept: casemill quarantine show {item_id}",
        item_id=item_id,
        missing=("everything: the item could not be read",),
        reasons=(reason,),
        silence=reason,
    )


def oversize(mail: ParsedMail, size: int, verdict: Classification, item_id: int, received_at: datetime) -> Submission:
    """A ticket for a message of which only the headers were taken."""
    return Submission(
        source=TicketSource.EMAIL,
        received_at=received_at,
        subject=mail.subject or NO_SUBJECT,
        text=f"The message is too large to be taken in ({size / 1_048_576:.1f} MB). It is still in the mailbox.",
        item_id=item_id,
        email=mail.from_addr,
        name=mail.from_name or "",
        missing=("the text and the attachments: the message is too large",),
        reasons=(Reason("oversize", "The message is larger than the limit; its headers were taken"),),
        silence=verdict.silence,
        verified=mail.authentication.passed if mail.authentication else None,
        automatic=mail.is_auto,
    )


def _is_document(file: ParsedAttachment) -> bool:
    """Whether a file is more than a picture in the text; some programs call every file inline."""
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


def _folded(label: str) -> str:
    return " ".join(label.replace("_", " ").casefold().split())


def _by_type(form: ParsedForm, values: dict[str, str]) -> None:
    """Fields whose type tells what they are, for forms that post ids without a label map."""
    for field in form.fields:
        meaning = {"email": "requester_email", "phone": "phone"}.get(field.field_type or "") or _name_like(field)
        if meaning and field.text:
            values.setdefault(meaning, field.text)


def _name_like(field: FormField) -> str | None:
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
