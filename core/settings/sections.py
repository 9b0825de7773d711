"""The sections of the settings file, one class each. Unknown keys are refused; `cli/config_help.py` explains every key."""

from __future__ import annotations

from datetime import date, time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from core.settings.types import LowerStr, SafeUrl, Secret, Section, Zone, is_loopback


class OAuth(Section):
    """Sign-in with tokens instead of a password (docs/sign-in-to-mail.md)."""

    provider: Literal["microsoft", "google", "other"]
    tenant: str = ""
    client_id: str = ""
    client_secret: Secret | None = None
    client_secret_expires: date | None = None
    refresh_token: Secret | None = None
    service_account: Path | None = None
    scope: str = ""
    authority: SafeUrl = "https://login.microsoftonline.com"
    token_url: SafeUrl = ""
    ca_file: Path | None = None

    @model_validator(mode="after")
    def _complete(self) -> OAuth:
        has_credentials = bool(self.client_id and self.client_secret)
        if self.provider == "microsoft" and not (self.tenant and self.client_id and (has_credentials or self.refresh_token)):
            raise ValueError("microsoft needs tenant, client_id, and client_secret or refresh_token")
        if self.provider == "google" and not (self.service_account or (has_credentials and self.refresh_token)):
            raise ValueError("google needs service_account, or client_id, client_secret and refresh_token")
        if self.provider == "other" and not (self.token_url and (has_credentials or self.refresh_token)):
            raise ValueError("this provider needs token_url, and client_id with client_secret, or refresh_token")
        return self


def _require_oauth(auth: str, oauth: OAuth | None) -> None:
    if auth == "xoauth2" and oauth is None:
        raise ValueError('auth = "xoauth2" needs the section oauth, which says where tokens come from')


class Smtp(Section):
    """How casemill signs in to the SMTP server of smtp_url, which also names the user."""

    auth: Literal["password", "xoauth2"] = "password"
    oauth: OAuth | None = None

    @model_validator(mode="after")
    def _require_tokens(self) -> Smtp:
        _require_oauth(self.auth, self.oauth)
        return self


class Workbooks(Section):
    """How workbooks of secure messages are read."""

    columns: dict[str, list[str]] = {}
    passwords: list[Secret] = []


class Mailbox(Section):
    """One watched IMAP mailbox."""

    host: str
    port: int = 993
    user: str
    password: Secret
    auth: Literal["password", "xoauth2"] = "password"
    address: LowerStr = ""
    folder: str = "INBOX"
    tls: bool = True
    insecure: bool = False
    ca_file: Path | None = None
    move_to: str = ""
    since: date | Literal["all"] | None = None
    poll_seconds: float = Field(default=30.0, gt=0)
    authserv_id: str = ""
    automatic: Literal["ticket", "set-aside"] = "ticket"
    lists: Literal["ticket", "list"] = "list"
    secure_senders: list[LowerStr] = []
    workbooks: Workbooks = Workbooks()
    category: str = ""
    oauth: OAuth | None = None

    @model_validator(mode="before")
    @classmethod
    def _default_password_for_tokens(cls, values: Any) -> Any:
        return {"password": "", **values} if isinstance(values, dict) and values.get("auth") == "xoauth2" else values

    @model_validator(mode="after")
    def _require_tokens(self) -> Mailbox:
        _require_oauth(self.auth, self.oauth)
        return self

    @model_validator(mode="after")
    def _require_tls_or_insecure(self) -> Mailbox:
        if not self.tls and not self.insecure and not is_loopback(self.host):
            raise ValueError("without TLS the password would travel in plain text: set tls = true, or insecure = true")
        return self


class Backfill(Section):
    """Reading Formstack's list of submissions to find those that the webhook missed."""

    token: Secret
    base_url: SafeUrl = "https://www.formstack.com/api/v2025"
    minutes: float = Field(default=15.0, gt=0)
    zone: Zone = "America/New_York"
    since: date | None = None
    ca_file: Path | None = None


class Form(Section):
    """One Formstack form. ``labels`` maps a field's key or label to its meaning (requester_email, company, subject …)."""

    name: str = "Formstack form"
    signature_keys: list[Secret] = []
    signature_header: str = "X-FS-Signature"
    handshake_key: Secret | None = None
    unsigned: bool = False
    labels: dict[str, str] = {}
    submission_link: str = "https://www.formstack.com/admin/submission/view/{submission}/{form}"
    category: str = ""
    backfill: Backfill | None = None

    @model_validator(mode="after")
    def _require_key_or_unsigned(self) -> Form:
        if not self.signature_keys and not self.handshake_key and not self.unsigned:
            raise ValueError("no secret is configured: set signature_keys or handshake_key, or unsigned = true")
        return self


class Folder(Section):
    """One watched folder, from which .xlsx, .eml, .mbox and form .json files are imported."""

    path: Path
    settle_seconds: float = Field(default=2.0, ge=0)
    poll_seconds: float = Field(default=5.0, gt=0)
    workbooks: Workbooks = Workbooks()
    category: str = ""


class Pipelines(Section):
    """Names of the default pipeline and ticket type."""

    default: str = "Service Pipeline 2 [Blitz/FTE, Billing Support, WC/Auto]"
    others: list[str] = []
    type: str = "Billing Issue"


class Rule(Section):
    """One routing rule: when all its conditions hold, the person or a member of the team gets the ticket."""

    source: Literal["email", "formstack", "secure_message", "portal", "phone"] | None = None
    category: str | None = None
    keyword: str | None = None
    sender_domain: LowerStr | None = None
    person: LowerStr | None = None
    team: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> Rule:
        if not (self.source or self.category or self.keyword or self.sender_domain):
            raise ValueError("a rule needs a condition: source, category, keyword or sender_domain")
        if bool(self.person) == bool(self.team):
            raise ValueError("a rule needs exactly one of person and team")
        return self


class Telemedicine(Section):
    """Who assists with telemedicine, and how a ticket is recognised as such besides the company's setting."""

    person: LowerStr | None = None
    team: str | None = None
    keywords: list[str] = ["telemedicine", "telehealth", "video visit"]
    categories: list[str] = ["Telemedicine"]


class Routing(Section):
    """Who gets tickets made by automation. ``forwarders`` are addresses or domains that forward mail of others, as staff do."""

    rules: list[Rule] = []
    telemedicine: Telemedicine = Telemedicine()
    colleagues_may_reply: bool = False
    public_domains: list[LowerStr] = []
    forwarders: list[LowerStr] = []


class Team(Section):
    """A team of staff, by their email addresses; exactly one is the default."""

    title: str = ""
    default: bool = False
    manager: LowerStr | None = None
    members: list[LowerStr] = []


class Calendar(Section):
    """How the days until reminders and escalations are counted."""

    days: Literal["calendar", "business"] = "calendar"
    zone: Zone = "America/New_York"
    opens: time = time(9)
    closes: time = time(17)
    weekdays: list[Annotated[int, Field(ge=0, le=6)]] = Field(default=[0, 1, 2, 3, 4], min_length=1)
    holidays: list[date] = []
    reminder_days: int = Field(default=2, gt=0, le=366)
    escalation_days: int = Field(default=3, gt=0, le=366)
    task_days: int = Field(default=1, gt=0, le=366)
    reopen_days: int = Field(default=14, ge=0, le=3660)
    digest_at: time = time(7, 30)

    @model_validator(mode="after")
    def _require_opening_before_closing(self) -> Calendar:
        if self.opens >= self.closes:
            raise ValueError("the business day closes before it opens: opens must be earlier than closes")
        return self


class Notices(Section):
    """Sender and limits of the mail that casemill sends (mail-rules.md)."""

    domain: LowerStr = "casemill.example"
    sender: LowerStr = ""
    sender_name: str = "Billing Support"
    reply_to: LowerStr = ""
    never_answer: list[LowerStr] = []
    own_addresses: list[LowerStr] = []
    per_address_hour: int = 3
    per_address_day: int = 10
    per_ticket_ten_minutes: int = 10
    per_domain_hour: int = Field(default=100, ge=0)
    per_public_domain_hour: int = Field(default=1000, ge=0)
    total_hour: int = Field(default=2000, ge=0)
    rows_in_silence: int = 6
    give_up_days: float = 5.0
    plus_addressing: bool = False
    bounce_mailbox: LowerStr = Field(default="bounce", pattern=r"^[a-zA-Z0-9._-]{1,12}$")
    bounce_days: int = Field(default=60, gt=0)
    history_days: int = Field(default=30, gt=0)

    @property
    def from_address(self) -> str:
        """The sender's address in force."""
        return self.sender or f"support@{self.domain}"

    @property
    def reply_mailbox(self) -> str:
        """The local part of the address that replies are sent to, without a ``+`` part."""
        return (self.reply_to or self.from_address).rpartition("@")[0].partition("+")[0]

    @model_validator(mode="after")
    def _require_own_reply_domain(self) -> Notices:
        if self.plus_addressing and not (self.reply_to or self.from_address).endswith(f"@{self.domain}"):
            raise ValueError("plus_addressing needs reply_to (or sender) to be an address in notices.domain")
        if self.plus_addressing and len(self.reply_mailbox) > 24:
            raise ValueError("plus_addressing needs an address with at most 24 characters before the @ in reply_to (or sender)")
        return self


class Surveys(Section):
    """The survey after a ticket is completed."""

    enabled: bool = True
    throttle: Literal["contact", "company"] = "contact"
    days: int = Field(default=30, gt=0, le=3660)
    delay_hours: float = Field(default=4.0, ge=0)
    open_days: int = Field(default=60, gt=0, le=3660)
    change_days: int = Field(default=7, ge=0, le=366)
    low_score: int = Field(default=2, ge=0, le=5)

    @model_validator(mode="after")
    def _require_delay_within_throttle(self) -> Surveys:
        if self.delay_hours > self.days * 24:
            raise ValueError(
                "the delay is longer than the days in which a customer gets one survey: lower delay_hours or raise days"
            )
        return self


class Limits(Section):
    """Sizes in bytes, times in seconds."""

    message_bytes: int = 25 * 1024 * 1024
    form_bytes: int = 1024 * 1024
    parser_processes: int = Field(default=0, ge=0)
    parser_cpu_seconds: int = 5
    parser_wall_seconds: float = 10.0
    parser_memory_bytes: int = 512 * 1024 * 1024
    batch: int = Field(default=100, gt=0, le=500)
    attempts: int = Field(default=3, gt=0)


class Retention(Section):
    """After how many days done facts are deleted."""

    facts_days: int = 7


class Web(Section):
    """The public web address, and the address to listen on."""

    base_url: str = "http://127.0.0.1:8025"
    listen: str = "127.0.0.1:8025"
    status_token: Secret | None = None
