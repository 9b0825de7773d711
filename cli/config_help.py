"""The explanations and examples in the configuration file that `casemill init` writes: one for every key."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

#: Sections of which there can be several, each with a name → the name in the example.
EXAMPLE_NAMES = {
    "mailboxes": "support",
    "forms": "5512345",
    "folders": "secure_messages",
    "teams": "billing-support",
}

#: Class of the section → key → explanation: what it sets, its unit, what happens without it.
KEY_HELP: Mapping[str, Mapping[str, str]] = {
    "Settings": {
        "data_dir": "Folder for the SQLite database, the mail that was sent into a Maildir, and the signing key.",
        "database_url": "Empty: an SQLite file under data_dir. PostgreSQL, needed for several processes:"
        " postgresql://user:password@host/name",
        "redis_url": "Empty: `casemill run` does all the work itself. Redis, needed for separate workers: redis://host:6379/0",
        "smtp_url": "Empty: mail is not sent but written to a Maildir under data_dir. SMTP: smtp://user:password@host:587, or"
        " smtps://user:password@host:465. Add ?cafile=/path for a server with a certificate of a private authority.",
        "secret_key": "Key that signs Message-IDs and reply addresses, 16 characters or more. Empty: a key is created under"
        ' data_dir. Required when env is "production".',
        "previous_secret_keys": "Earlier secret keys. Mail that was signed with one of them is still recognised.",
        "env": '"development", "test" or "production". Production refuses settings that are only fit for trying out.',
    },
    "OAuth": {
        "provider": '"microsoft", "google", or "other" with a token_url.',
        "tenant": "Microsoft: the directory (tenant) ID.",
        "client_id": "The application (client) ID.",
        "client_secret": "The secret of the application.",
        "client_secret_expires": "The day on which the secret expires. casemill warns 30, 14, 7 and 1 days before.",
        "refresh_token": "Refresh token of a person who has given consent; used instead of the application's own access.",
        "service_account": "Google: the JSON key file of a service account with access to the mailbox.",
        "scope": "The OAuth scope. Empty: the usual scope of the provider.",
        "authority": "Microsoft: the sign-in address. Another cloud, for example: https://login.microsoftonline.us",
        "token_url": "The address that issues tokens. Empty: the usual address of the provider.",
        "ca_file": "PEM file of a private certificate authority for the token server.",
    },
    "Smtp": {
        "auth": '"password": the password in smtp_url. "xoauth2": tokens, from the section [smtp.oauth].',
    },
    "Mailbox": {
        "host": "The IMAP server.",
        "port": "The port: 993 for TLS, 143 without.",
        "user": "The user name of the account.",
        "password": "The password of the account.",
        "auth": '"password", or "xoauth2" with tokens from the section oauth of this mailbox; then no password is needed.',
        "address": "The mailbox's email address. Mail from this address is our own and is never answered.",
        "folder": "The folder to watch.",
        "tls": "Use TLS and verify the certificate. false is allowed only for a server on this machine.",
        "insecure": "Allow a connection without TLS over the network. The password can then be read on the way.",
        "ca_file": "PEM file of a private certificate authority for the server.",
        "move_to": 'Move mail to this folder after it was taken in, for example "Taken in". Empty: mail stays where it is.',
        "since": 'Which older mail to take in: from this date on, or "all". Without this key: only mail that arrives later.',
        "poll_seconds": "Poll interval in seconds. New mail is usually noticed at once, by IMAP IDLE.",
        "authserv_id": (
            "The name of your own server in the Authentication-Results header (Microsoft 365: microsoft365). When it is set,"
            " senders who fail its checks get no automatic mail."
        ),
        "automatic": 'Automatic mail, such as out-of-office replies: "ticket" opens a ticket, "set-aside" only records it.',
        "lists": 'Mailing lists and bulk mail: "ticket" opens a ticket, "list" only records it.',
        "secure_senders": "Senders whose Excel attachments are secure messages: each row becomes a ticket.",
        "category": "Category of tickets from this mailbox.",
    },
    "Workbooks": {
        "columns": "More header names for a column, in addition to the built-in ones.",
        "passwords": "Passwords to try on protected workbooks.",
    },
    "Backfill": {
        "token": "Formstack API token with read access to the submissions of the form.",
        "base_url": "The address of the Formstack API.",
        "minutes": "Minutes between two requests.",
        "zone": "Time zone of the Formstack account, which the API uses for its times.",
        "since": "Take in submissions from this date on. Without this key: only those that are submitted from now on.",
        "ca_file": "PEM file of a private certificate authority for the server.",
    },
    "Form": {
        "name": "Name of the form, for people.",
        "signature_keys": "Keys that sign the webhook's requests. Two while you replace one by the other.",
        "signature_header": "The header with the signature.",
        "handshake_key": "The shared secret in the request body, if the form has one.",
        "unsigned": "Accept requests without a signature or shared secret. Then anyone can send submissions.",
        "submission_link": "Link to a submission in Formstack; {submission} and {form} are replaced by their ids.",
        "labels": "Field id or label = meaning: requester_email, requester_name, company, account_number, phone, subject,"
        " category, issue, issue_detail, details or preferred_contact.",
        "category": "Category of tickets from this form, if the submission has none.",
    },
    "Folder": {
        "path": "The folder. Files move to done/ or rejected/ inside it when they have been taken in.",
        "settle_seconds": "Seconds for which a file must not have changed before it is taken in.",
        "poll_seconds": "Poll interval in seconds.",
        "category": "Category of tickets from this folder.",
    },
    "Pipelines": {
        "default": "The pipeline of new tickets.",
        "others": "Names of other pipelines.",
        "type": "The type of new tickets.",
    },
    "Routing": {
        "colleagues_may_reply": "true: a verified contact may add to a ticket of another contact of the same company by mail.",
        "forwarders": "Addresses or domains that forward mail of others, as staff do. The ticket is for the original sender.",
        "public_domains": "More mail domains that are open to anyone, such as gmail.com. They never identify a company.",
    },
    "Rule": {
        "source": "Condition: email, formstack, secure_message, portal or phone.",
        "category": "Condition: the category of the ticket.",
        "keyword": "Condition: a word in the subject or text.",
        "sender_domain": "Condition: the domain of the sender's address.",
        "person": "Assign the ticket to this member of staff (email address). Give either person or team.",
        "team": "Assign the ticket to the least loaded member of this team.",
    },
    "Telemedicine": {
        "person": 'Who gets the task "Telemedicine assistance" (email address). Give person or team.',
        "team": "The team that gets the task, when there is no person.",
        "keywords": "Words in the subject or text that mark a ticket as telemedicine.",
        "categories": "Categories that mark a ticket as telemedicine.",
    },
    "Team": {
        "title": "Name of the team, for people.",
        "default": "true for the one team that gets tickets for which no other rule decides.",
        "manager": "Email address of the team's manager.",
        "members": "Email addresses of the members.",
    },
    "Calendar": {
        "days": 'Count the days until reminder and escalation as "calendar" days or as "business" days.',
        "zone": "Time zone of business days and hours.",
        "opens": "Time at which a business day begins.",
        "closes": "Time at which a business day ends.",
        "weekdays": "Business days; 0 is Monday, 6 is Sunday.",
        "holidays": "Dates that are not business days, for example [2026-12-25].",
        "reminder_days": "Days without a follow-up until the owner gets a reminder.",
        "escalation_days": "Days without a resolution until the company's manager gets an escalation.",
        "task_days": "Days until a task that a rule has created is due.",
        "reopen_days": "Days after completion during which a reply reopens the ticket. A later reply opens a new, linked ticket.",
        "digest_at": "Time of the daily digest mail, in the time zone and on the working days of each member of staff.",
    },
    "Notices": {
        "domain": "The domain of the mail that casemill sends; also used in its Message-IDs.",
        "sender": "The sender address. Empty: support@ the domain.",
        "sender_name": "The name shown with the sender address.",
        "reply_to": "The address for replies, if it is not the sender address.",
        "never_answer": "Addresses and domains that get no automatic mail.",
        "own_addresses": "More addresses of our own. Mail from them is recorded, and neither opens a ticket nor is answered.",
        "per_address_hour": "Automatic mails to one address in an hour. More are not sent.",
        "per_address_day": "Automatic mails to one address in a day. More are not sent.",
        "per_ticket_ten_minutes": "Automatic mails for one ticket to one address in ten minutes. More are not sent.",
        "per_domain_hour": "Automatic mails to one domain in an hour. More are sent later. 0: no limit.",
        "per_public_domain_hour": "The same for a public mail domain, such as gmail.com.",
        "total_hour": "All automatic mails in an hour. More are sent later. 0: no limit.",
        "rows_in_silence": "Automatic mails on one ticket without a message from a person in between. More are not sent.",
        "give_up_days": "Days for which a mail that the server does not accept is tried again.",
        "plus_addressing": "true if the mailbox accepts name+anything@domain. Replies then go to a signed address of the ticket.",
        "bounce_mailbox": "The mailbox for bounces, without its domain. It must accept name+anything and be one of [mailboxes].",
        "bounce_days": "Days for which an address gets no automatic mail after mail to it bounced permanently.",
        "history_days": "Mail that is older than this many days when it is taken in for the first time is not answered.",
    },
    "Surveys": {
        "enabled": "true: send a survey after completion.",
        "throttle": 'At most one survey in the number of days below for each "contact", or for each "company".',
        "days": "Days between two surveys to the same contact or company.",
        "delay_hours": "Hours between completion and survey. It is not sent when the ticket has been reopened by then.",
        "open_days": "Days for which a survey can be answered.",
        "change_days": "Days after the first answer during which it can be changed.",
        "low_score": "Scores up to this one, of 5, are marked as low in the mail to the owner.",
    },
    "Limits": {
        "message_bytes": "Largest mail or file, in bytes. A larger one is not taken in; a ticket says so.",
        "form_bytes": "Largest form submission, in bytes. A larger one is refused.",
        "parser_processes": "Number of parser processes. 0: one for each core, at most four; several workers share the cores.",
        "parser_cpu_seconds": "Processor time for reading one item, in seconds.",
        "parser_wall_seconds": "Time for reading one item, in seconds.",
        "parser_memory_bytes": "Memory of one parser process, in bytes.",
        "batch": "Inbound items in a batch, 1 to 500; together at most 32 MB.",
        "attempts": "Attempts at reading an item before it goes into quarantine.",
    },
    "Retention": {
        "facts_days": "Days for which handled internal events are kept.",
    },
    "Web": {
        "base_url": "The address at which customers reach the web server. Links in mail begin with it.",
        "listen": "Host and port on which the web server listens.",
        "status_token": "Token with which other machines may read the status page and metrics (Authorization: Bearer).",
    },
}

#: Class of the section → key → example, for keys whose default shows nothing.
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
