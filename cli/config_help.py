"""What every key of the configuration is for, in the words of the file that `casemill init` writes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

#: Sections of which there can be several, each with a name: the name in the example.
EXAMPLE_NAMES = {
    "mailboxes": "support",
    "forms": "5512345",
    "folders": "secure_messages",
    "graph": "shared",
    "teams": "billing-support",
}

#: Class of the section → key → what it is for.
KEY_HELP: Mapping[str, Mapping[str, str]] = {
    "Settings": {
        "data_dir": "Where the embedded database, sent mail and the signing key are kept.",
        "database_url": "Empty: an SQLite file under data_dir. For several processes: postgresql://user:password@host/name",
        "redis_url": "Empty: workers inside `casemill run`. With workers of their own: redis://host:6379/0",
        "smtp_url": "Empty: mail goes to a Maildir under data_dir. Else smtp://user:password@host:587 or smtps://…;"
        " ?cafile=/path names a private authority.",
        "secret_key": "Signs Message-IDs and addresses; empty: made once and kept under data_dir. Needed in production.",
        "previous_secret_keys": "Keys that were in use before; what they signed is still known.",
        "env": "development, test or production; production refuses what is only fit for trying out.",
    },
    "OAuth": {
        "provider": '"microsoft", "google", or "other" with a token_url.',
        "tenant": "Microsoft: the directory's id.",
        "client_id": "The application's id.",
        "client_secret": "The application's secret.",
        "client_secret_expires": "The day it ends: warned of 30, 14, 7 and 1 days ahead.",
        "refresh_token": "For signing in as a person who has agreed, in place of the application.",
        "service_account": "Google: the JSON key file of a service account that may act for the mailbox.",
        "scope": "What the token is for, when not the provider's usual.",
        "authority": "Microsoft: another cloud's sign-in address, such as https://login.microsoftonline.us",
        "token_url": "Where tokens come from, when not the provider's usual.",
        "ca_file": "PEM file of a private authority that signed that server's certificate.",
    },
    "Smtp": {
        "auth": '"password" (in smtp_url), or "xoauth2" with tokens.',
    },
    "Mailbox": {
        "host": "The IMAP server.",
        "port": "Its port; 993 is IMAP with TLS.",
        "user": "The account.",
        "password": "Its password.",
        "auth": '"password", or "xoauth2" with tokens; then no password is needed.',
        "address": "The address people write to; mail from it is our own and is never answered.",
        "folder": "The folder that is watched.",
        "tls": "Verified TLS. Without it only a server on this machine is spoken to.",
        "insecure": "Allow plain text over the network all the same.",
        "ca_file": "PEM file of a private authority that signed the server's certificate.",
        "move_to": "Where taken mail is moved to; empty: it stays where it is.",
        "since": 'From which day old mail counts: a date, or "all"; by default only what arrives from now on.',
        "poll_seconds": "How often to look, besides being told by the server.",
        "authserv_id": (
            "The name your own server gives in Authentication-Results (for Microsoft 365: microsoft365); then only senders it"
            " vouches for are answered."
        ),
        "automatic": 'What becomes of automatic mail: a "ticket", or "set-aside".',
        "lists": 'What becomes of list and bulk mail: a "ticket", or "list" (recorded only).',
        "secure_senders": "Addresses whose Excel attachments are secure messages, a row each.",
        "category": "The category of tickets from here.",
    },
    "Workbooks": {
        "columns": "Further header names for a column, beside the ones that are known.",
        "passwords": "Passwords tried on protected workbooks.",
    },
    "Backfill": {
        "token": "A token of Formstack's API that may read the form's submissions.",
        "base_url": "The API's address.",
        "minutes": "How often to ask.",
        "zone": "The time zone of the Formstack account; the API's times are in it.",
        "since": "From which day older submissions count; by default only what is submitted from now on.",
        "ca_file": "PEM file of a private authority that signed the server's certificate.",
    },
    "Form": {
        "name": "What people call the form.",
        "signature_keys": "Keys of the webhook's signature; two while one is being replaced.",
        "signature_header": "The header the signature comes in.",
        "handshake_key": "The shared secret in the body, when one is set at the form.",
        "unsigned": "Accept posts without any secret. Anybody could post then.",
        "submission_link": "Where a submission is looked at in Formstack; {submission} and {form} are put in.",
        "labels": "Field id or label → requester_email, requester_name, company, account_number, phone, subject, category,"
        " issue, issue_detail, details or preferred_contact.",
        "category": "The category of tickets from here, when the form gives none.",
    },
    "Folder": {
        "path": "The folder; taken files move to done/ or rejected/ inside it.",
        "settle_seconds": "How long a file must not have changed before it is touched.",
        "poll_seconds": "How often to look.",
        "category": "The category of tickets from here.",
    },
    "Graph": {
        "tenant": "The directory's id.",
        "client_id": "The application's id.",
        "client_secret": "The application's secret.",
        "mailbox": "The mailbox's address.",
    },
    "Pipelines": {
        "default": "The pipeline of new tickets.",
        "others": "Further pipelines.",
        "type": "The type of new tickets.",
    },
    "Routing": {
        "colleagues_may_reply": "Whether a verified contact of the same company may add to a ticket of a colleague.",
        "forwarders": "Addresses or domains that forward mail of others, as staff do: the ticket is the original sender's.",
        "public_domains": "Mail domains anybody can have, besides the well-known ones: they never name a company.",
    },
    "Rule": {
        "source": "Condition: email, formstack, secure_message, portal or phone.",
        "category": "Condition: the ticket's category.",
        "keyword": "Condition: a word in subject or text.",
        "sender_domain": "Condition: the domain of the sender's address.",
        "person": "Who gets the ticket: email address; or",
        "team": "the team whose least loaded member gets it.",
    },
    "Telemedicine": {
        "person": "Who assists: email address; or",
        "team": "the team that does.",
        "keywords": "Words in subject or text by which it is recognised.",
        "categories": "Categories by which it is recognised.",
    },
    "Team": {
        "title": "What people call the team.",
        "default": "Whether tickets nobody else gets go here; exactly one team.",
        "manager": "Email address of its manager.",
        "members": "Email addresses of its members.",
    },
    "Calendar": {
        "days": '"calendar" days, or "business" days: how reminder and escalation are counted.',
        "zone": "The time zone of days and hours.",
        "opens": "When a business day begins.",
        "closes": "When it ends.",
        "weekdays": "Business days; 0 is Monday.",
        "holidays": "Days that are none.",
        "reminder_days": "Without a follow-up for so long, the owner is reminded.",
        "escalation_days": "Without a resolution for so long, the manager is told.",
        "task_days": "How long whoever gets a task from a rule has for it.",
        "reopen_days": "So long after completion a reply opens a ticket again; later it becomes a new one, linked to it.",
        "digest_at": "When the daily digest goes out, in everybody's own time zone, on their working days.",
    },
    "Notices": {
        "domain": "The domain mail is sent from; our Message-IDs carry it.",
        "sender": "The address mail is sent from; empty: support@ the domain.",
        "sender_name": "The name beside it.",
        "reply_to": "Where replies go, when not to the sender.",
        "never_answer": "Addresses and domains that get no automatic mail.",
        "own_addresses": "Further addresses of our own: mail from them is recorded only.",
        "per_address_hour": "Automatic mails to one address in an hour; more are skipped.",
        "per_address_day": "The same in a day.",
        "per_ticket_ten_minutes": "The same for one ticket and recipient in ten minutes.",
        "per_domain_hour": "Automatic mails to one domain in an hour; more wait. 0: no limit, and none is counted.",
        "per_public_domain_hour": "The same for a public mail domain.",
        "total_hour": "The same in all.",
        "rows_in_silence": "After so many automatic mails in a row without a human a ticket falls silent.",
        "give_up_days": "How long a mail that does not get through is tried.",
        "plus_addressing": "Whether the mailbox takes name+anything: replies then go to a signed address of the ticket.",
        "bounce_mailbox": "The mailbox that takes bounces, without its domain; it must take name+anything and be watched.",
        "bounce_days": "How long an address whose mail came back for good gets no automatic mail.",
        "history_days": "Mail that had lain so long in its mailbox when it was first taken in is history, and not answered.",
    },
    "Surveys": {
        "enabled": "Whether surveys are sent.",
        "throttle": 'One survey to each "contact", or to each "company",',
        "days": "in so many days.",
        "delay_hours": "How long after completion it is sent, if the ticket is still completed then.",
        "open_days": "How long it can be answered.",
        "change_days": "How long after the first answer it can be changed.",
        "low_score": "Scores up to this one are marked as low in the mail to the owner.",
    },
    "Limits": {
        "message_bytes": "Larger messages are not taken; a ticket says so.",
        "form_bytes": "Larger form posts are refused.",
        "parser_processes": "Processes that parse; 0 is one a core, at most four; workers started together share the cores.",
        "parser_cpu_seconds": "Processor time for one item.",
        "parser_wall_seconds": "Time for one item.",
        "parser_memory_bytes": "Memory of one parser process.",
        "batch": "Items taken in hand at once.",
        "attempts": "Attempts before an item is set aside.",
    },
    "Retention": {
        "raw_days": "How long originals are kept.",
        "facts_days": "How long facts that everybody has read are kept.",
    },
    "Web": {
        "base_url": "The address others reach it by; links in mail begin with it.",
        "listen": "Where it listens.",
        "status_token": "Lets others than this machine read the status page and metrics.",
    },
}

#: Class of the section → key → an example, for keys without a default that could be shown.
KEY_EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "OAuth": {
        "provider": "microsoft",
        "tenant": "00000000-0000-0000-0000-000000000000",
        "client_id": "00000000-0000-0000-0000-000000000000",
        "client_secret": "env:CASEMILL_SECRET_MAIL_CLIENT",
        "client_secret_expires": date(2027, 11, 1),
        "refresh_token": "env:CASEMILL_SECRET_MAIL_REFRESH",
        "service_account": "/etc/casemill/google-service-account.json",
        "ca_file": "/etc/ssl/private-authority.pem",
    },
    "Backfill": {
        "token": "env:CASEMILL_SECRET_FORMSTACK",
        "since": date(2026, 11, 1),
        "ca_file": "/etc/ssl/private-authority.pem",
    },
    "Mailbox": {
        "host": "imap.example.com",
        "user": "support@example.com",
        "password": "env:CASEMILL_SECRET_SUPPORT_PASSWORD",
        "ca_file": "/etc/ssl/private-authority.pem",
        "since": date(2026, 11, 1),
    },
    "Workbooks": {"columns": {"message": ["note text", "Nachricht"]}},
    "Form": {
        "signature_keys": ["env:CASEMILL_SECRET_FORM_KEY"],
        "handshake_key": "env:CASEMILL_SECRET_FORM_HANDSHAKE",
        "labels": {"172000001": "company", "172000003": "requester_email"},
    },
    "Folder": {"path": "/srv/secure-messages"},
    "Graph": {
        "tenant": "00000000-0000-0000-0000-000000000000",
        "client_id": "00000000-0000-0000-0000-000000000000",
        "client_secret": "env:CASEMILL_SECRET_GRAPH",
        "mailbox": "support@example.com",
    },
    "Rule": {
        "source": "formstack",
        "category": "Claims",
        "keyword": "denial",
        "sender_domain": "clinic.example",
        "person": "mara.lind@example.com",
        "team": "",
    },
    "Telemedicine": {"person": "jo.marsh@example.com", "team": "onboarding"},
    "Team": {"manager": "mara.lind@example.com", "members": ["lee.moss@example.com"], "default": True},
    "Web": {"status_token": "env:CASEMILL_SECRET_STATUS"},
}
