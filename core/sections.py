"""The sections of the settings file, one class each. Unknown keys are refused; every key says what it is for."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from datetime import date, time
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    model_validator,
)


class Section(BaseModel):
    """Frozen, and no key it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _resolve(value: object, info: ValidationInfo) -> object:
    """``env:NAME`` and ``file:PATH`` become the secret they name; anything else is the secret itself."""
    if not isinstance(value, str):
        return value
    environ: Mapping[str, str] = (info.context or {}).get("environ", os.environ)
    if value.startswith("env:"):
        name = value.removeprefix("env:")
        if not environ.get(name):
            raise ValueError(f"the secret is missing: environment variable {name} is not set")
        return environ[name]
    if value.startswith("file:"):
        return _secret_in(Path(value.removeprefix("file:")))
    return value


def _secret_in(path: Path) -> str:
    try:
        secret = path.read_text("utf-8").strip()
    except OSError as error:
        raise ValueError(f"the secret is missing: {path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError(f"the secret cannot be read: {path} is not UTF-8 text") from None
    if not secret:
        raise ValueError(f"the secret is missing: {path} is empty")
    return secret


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"{value!r} is no time zone; write one like America/New_York") from None
    return value


Secret = Annotated[SecretStr, BeforeValidator(_resolve)]
#: An address of a server that may hold its password.
SecretUrl = Annotated[str, BeforeValidator(_resolve), Field(repr=False)]
Zone = Annotated[str, AfterValidator(_zone)]
LowerStr = Annotated[str, AfterValidator(str.lower)]


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine, so that plain text does not leave it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Workbooks(Section):
    """How secure-message workbooks are read."""

    columns: dict[str, list[str]] = {}
    passwords: list[Secret] = []


class Mailbox(Section):
    """One watched IMAP mailbox."""

    host: str
    port: int = 993
    user: str
    password: Secret
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

    @model_validator(mode="after")
    def _plain_text_stays_home(self) -> Mailbox:
        if not self.tls and not self.insecure and not is_loopback(self.host):
            raise ValueError("without TLS the password would travel in plain text: set tls = true, or insecure = true")
        return self


class Form(Section):
    """One Formstack form. ``labels``: field key or label → what it means (requester_email, company, subject …)."""

    name: str = "Formstack form"
    signature_keys: list[Secret] = []
    signature_header: str = "X-FS-Signature"
    handshake_key: Secret | None = None
    unsigned: bool = False
    labels: dict[str, str] = {}
    submission_link: str = "https://www.formstack.com/admin/submission/view/{submission}/{form}"
    category: str = ""

    @model_validator(mode="after")
    def _closed_without_key(self) -> Form:
        if not self.signature_keys and not self.handshake_key and not self.unsigned:
            raise ValueError("no secret is configured: set signature_keys or handshake_key, or say unsigned = true")
        return self


class Folder(Section):
    """One watched folder: .xlsx, .eml, .mbox and form .json files dropped there are taken in."""

    path: Path
    settle_seconds: float = Field(default=2.0, ge=0)
    poll_seconds: float = Field(default=5.0, gt=0)
    workbooks: Workbooks = Workbooks()
    category: str = ""


class Graph(Section):
    """A Microsoft Graph mailbox; kept for later versions."""

    tenant: str
    client_id: str
    client_secret: Secret
    mailbox: str


class Pipelines(Section):
    """Names of the default pipeline and ticket type."""

    default: str = "Service Pipeline 2 [Blitz/FTE, Billing Support, WC/Auto]"
    others: list[str] = []
    type: str = "Billing Issue"


class Rule(Section):
    """One routing rule: all given conditions must hold; then the person or a member of the team gets the ticket."""

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
    """Who assists with telemedicine, and by what it is recognised besides the company's setting."""

    person: LowerStr | None = None
    team: str | None = None
    keywords: list[str] = ["telemedicine", "telehealth", "video visit"]
    categories: list[str] = ["Telemedicine"]


class Routing(Section):
    """Who gets tickets made by automation. ``forwarders`` (addresses or domains) forward mail of others, as staff do."""

    rules: list[Rule] = []
    telemedicine: Telemedicine = Telemedicine()
    public_domains: list[LowerStr] = []
    forwarders: list[LowerStr] = []


class Team(Section):
    """A team of staff, by their email addresses; exactly one is the default."""

    title: str = ""
    default: bool = False
    manager: LowerStr | None = None
    members: list[LowerStr] = []


class Calendar(Section):
    """How the days of reminders and escalations are counted."""

    days: Literal["calendar", "business"] = "calendar"
    zone: Zone = "America/New_York"
    opens: time = time(9)
    closes: time = time(17)
    weekdays: list[Annotated[int, Field(ge=0, le=6)]] = Field(default=[0, 1, 2, 3, 4], min_length=1)
    holidays: list[date] = []
    reminder_days: int = Field(default=2, gt=0, le=366)
    escalation_days: int = Field(default=3, gt=0, le=366)

    @model_validator(mode="after")
    def _opens_first(self) -> Calendar:
        if self.opens >= self.closes:
            raise ValueError("the business day closes before it opens: opens must be earlier than closes")
        return self


class Notices(Section):
    """What mail from casemill looks like, and how much of it is too much (mail-rules.md)."""

    domain: LowerStr = "casemill.example"
    sender: LowerStr = ""
    sender_name: str = "Billing Support"
    reply_to: LowerStr = ""
    never_answer: list[LowerStr] = []
    own_addresses: list[LowerStr] = []
    per_address_hour: int = 3
    per_address_day: int = 10
    per_ticket_ten_minutes: int = 10
    per_domain_hour: int = 100
    per_public_domain_hour: int = 1000
    total_hour: int = 2000
    rows_in_silence: int = 6
    give_up_days: float = 5.0

    @property
    def from_address(self) -> str:
        return self.sender or f"support@{self.domain}"


class Surveys(Section):
    """The survey after completion."""

    throttle: Literal["contact", "company"] = "contact"
    days: int = 30


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
    """How long things are kept, in days; 0 keeps them."""

    raw_days: int = 0
    facts_days: int = 7


class Web(Section):
    """The web address others see, and where to listen."""

    base_url: str = "http://127.0.0.1:8025"
    listen: str = "127.0.0.1:8025"
    status_token: Secret | None = None


