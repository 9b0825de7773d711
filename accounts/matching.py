"""Match senders to contacts and companies: load a batch in a few queries, then decide on plain values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from accounts.models import Company, CompanyDomain, Contact
from accounts.names import fold_name
from accounts.public_domains import PUBLIC_DOMAINS
from core.database.in_lists import encode_list, in_list_parameter
from core.reasons import Reason


@dataclass(frozen=True, slots=True)
class SenderIdentity:
    """What an item says of its sender. ``trusted``: its source is one whose company name is reliable."""

    email: str | None
    name: str
    phone: str
    company: str
    account_number: str
    trusted: bool


@dataclass(frozen=True, slots=True)
class CompanyView:
    """A company as decisions see it."""

    id: int
    name: str
    active: bool
    consultant_id: int | None
    manager_id: int | None
    telemedicine: bool


@dataclass(frozen=True, slots=True)
class ContactView:
    """A contact as decisions see it."""

    id: int
    email: str | None
    name: str
    company_id: int | None


@dataclass(slots=True)
class SenderDirectory:
    """The contacts and companies a batch may need. ``recorded`` says why contacts of this batch have their company."""

    contacts: dict[str, ContactView] = field(default_factory=dict)
    companies: dict[int, CompanyView] = field(default_factory=dict)
    domains: dict[str, int] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    accounts: dict[str, int] = field(default_factory=dict)
    recorded: dict[str, Reason] = field(default_factory=dict)

    def find_company(self, sender: SenderIdentity, public: frozenset[str] = PUBLIC_DOMAINS) -> tuple[CompanyView | None, Reason]:
        """Return the company and why: the one on record, else by email domain, account number or name, else None.

        What a trusted source says of the company counts before the domain; what a public form says, after it.
        """
        contact = self.contacts.get(sender.email or "")
        if contact is not None and contact.company_id in self.companies:
            company = self.companies[contact.company_id]
            reason = self.recorded.get(sender.email or "")
            return company, reason or Reason("company_on_record", f"The contact belongs to {company.name}")
        stated = (
            (self.accounts.get(sender.account_number), "company_by_account", "The account number is that of"),
            (self.names.get(fold_name(sender.company)), "company_by_name", "The item names"),
        )
        domain = (self.find_company_by_domain(sender.email, public), "company_by_domain", "The sender's email domain belongs to")
        for company_id, code, text in (*stated, domain) if sender.trusted else (domain, *stated):
            if company_id is not None:
                company = self.companies[company_id]
                return company, Reason(code, f"{text} {company.name}")
        return None, Reason("company_unknown", "No company on record, by name or by email domain")

    def find_company_by_domain(self, email: str | None, public: frozenset[str] = PUBLIC_DOMAINS) -> int | None:
        domain = domain_of(email)
        return None if domain in public else self.domains.get(domain)


def domain_of(email: str | None) -> str:
    """Return the domain of an address, an empty string for None."""
    return (email or "").rpartition("@")[2]


def load(session: Session, senders: Iterable[SenderIdentity]) -> SenderDirectory:
    """Load the contacts and companies that ``senders`` could be. Three queries."""
    senders = list(senders)
    directory = SenderDirectory()
    load_contacts(session, directory, {sender.email for sender in senders if sender.email})
    domains = {domain_of(sender.email) for sender in senders if sender.email}
    found = session.connection().execute(_DOMAINS, {"values": encode_list(domains)})
    directory.domains = {domain: company_id for domain, company_id in found}  # noqa: C416 - rows are no pairs to mypy
    ids = {*directory.domains.values(), *(c.company_id for c in directory.contacts.values() if c.company_id)}
    names = {fold_name(sender.company) for sender in senders if sender.company} - {""}
    accounts = {sender.account_number for sender in senders if sender.account_number}
    wanted = {"ids": encode_list(ids), "names": encode_list(names), "accounts": encode_list(accounts)}
    for row in session.connection().execute(_COMPANIES, wanted):
        view = CompanyView(row.id, row.name, row.active, row.consultant_id, row.manager_id, row.telemedicine)
        directory.companies[row.id] = view
        directory.names[row.folded] = row.id
        if row.account_number:
            directory.accounts[row.account_number] = row.id
    return directory


def load_contacts(session: Session, directory: SenderDirectory, emails: set[str]) -> None:
    """Add the contacts with these addresses to ``directory``."""
    for contact_id, email, name, company_id in session.connection().execute(_CONTACTS, {"values": encode_list(emails)}):
        directory.contacts[email or ""] = ContactView(contact_id, email, name, company_id)


_CONTACTS = select(Contact.id, Contact.email, Contact.name, Contact.company_id).where(in_list_parameter(Contact.email))
_DOMAINS = select(CompanyDomain.domain, CompanyDomain.company_id).where(in_list_parameter(CompanyDomain.domain))
_COMPANIES = select(Company.__table__).where(
    or_(
        in_list_parameter(Company.id, "ids"),
        in_list_parameter(Company.folded, "names"),
        in_list_parameter(Company.account_number, "accounts"),
    )
)
