"""Records of the directory in one transaction: looked up in few queries, with the changes it makes to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from accounts.field_parsers import RefusedValueError
from accounts.models import Company, CompanyDomain, Contact, Staff

T = TypeVar("T")

#: Well under SQLite's limit of variables in one statement.
MAX_KEYS_PER_QUERY = 500


class Lookup(Generic[T]):
    """Records by key: each key is queried once, many keys in one query."""

    def __init__(self, load: Callable[[list[str]], Iterable[tuple[str, T]]]) -> None:
        self._load = load
        self._found: dict[str, T | None] = {}

    def fetch(self, keys: Iterable[str]) -> None:
        """Query those of ``keys`` that were not queried before."""
        missing = [key for key in dict.fromkeys(keys) if key not in self._found]
        for start in range(0, len(missing), MAX_KEYS_PER_QUERY):
            chunk = missing[start : start + MAX_KEYS_PER_QUERY]
            self._found.update(dict.fromkeys(chunk))
            self._found.update(self._load(chunk))

    def get(self, key: str) -> T | None:
        self.fetch([key])
        return self._found[key]

    def put(self, key: str, value: T | None) -> None:
        self._found[key] = value


class RecordCache:
    """The directory as one session sees it. Call :meth:`flush` at the end of the transaction: it writes what waits for ids."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.staff = Lookup(self._by(Staff, Staff.email))
        self.companies = Lookup(self._by(Company, Company.folded))
        self.accounts = Lookup(self._by(Company, Company.account_number))
        self.contacts = Lookup(self._by(Contact, Contact.email))
        self.domain_owners = Lookup(self._load_domain_owners)
        self._domains = Lookup(self._load_domains)
        self._wanted: dict[str, tuple[Company, frozenset[str]]] = {}

    def _by(self, table: type[T], column: Any) -> Callable[[list[str]], Iterable[tuple[str, T]]]:
        def load(keys: list[str]) -> Iterable[tuple[str, T]]:
            found = self.session.execute(select(column, table).where(column.in_(keys)))
            return [(key, record) for key, record in found]

        return load

    def _load_domain_owners(self, keys: list[str]) -> Iterable[tuple[str, Company]]:
        query = select(CompanyDomain.domain, Company).join(Company, Company.id == CompanyDomain.company_id)
        return [(domain, company) for domain, company in self.session.execute(query.where(CompanyDomain.domain.in_(keys)))]

    def _load_domains(self, keys: list[str]) -> Iterable[tuple[str, frozenset[str]]]:
        query = select(Company.folded, CompanyDomain.domain).join(CompanyDomain, Company.id == CompanyDomain.company_id)
        found: dict[str, set[str]] = {}
        for folded, domain in self.session.execute(query.where(Company.folded.in_(keys))):
            found.setdefault(folded, set()).add(domain)
        return [(folded, frozenset(domains)) for folded, domains in found.items()]

    def domains_of(self, company: Company) -> frozenset[str]:
        """Return the domains that a company has after this transaction."""
        if company.folded in self._wanted:
            return self._wanted[company.folded][1]
        return self._domains.get(company.folded) or frozenset()

    def fetch_domains(self, folded: Iterable[str]) -> None:
        self._domains.fetch(folded)

    def set_domains(self, company: Company, domains: frozenset[str]) -> None:
        for domain in self.domains_of(company) - domains:
            self.domain_owners.put(domain, None)
        for domain in domains:
            self.domain_owners.put(domain, company)
        # Load what is stored, for the difference that flush() writes.
        self._domains.get(company.folded)
        self._wanted[company.folded] = (company, domains)

    def find_staff(self, field: str, email: str) -> Staff:
        """Return the member of staff with this address. Raises :class:`RefusedValueError` when there is none."""
        person = self.staff.get(email)
        if person is None:
            raise RefusedValueError(
                field, f"unknown_{field}", f"no member of staff has the address {email}",
                hint=f"add the person first: casemill staff add {email}",
            )  # fmt: skip
        return person

    def id_of(self, record: Staff | Company) -> int:
        """Return the primary key; a record made in this transaction gets it now."""
        if record.id is None:
            self.session.flush()
        return record.id

    def flush(self) -> None:
        """Write everything in this order:

        1. Records, whose ids the domains need.
        2. Deletions of domains, so that one that moves to another company is free.
        3. New domains.
        """
        self.session.flush()
        stored = {folded: self._domains.get(folded) or frozenset() for folded in self._wanted}
        gone = sorted(d for folded, (_, wanted) in self._wanted.items() for d in stored[folded] - wanted)
        if gone:
            self.session.execute(delete(CompanyDomain).where(CompanyDomain.domain.in_(gone)))
        new = sorted((d, company.id) for folded, (company, wanted) in self._wanted.items() for d in wanted - stored[folded])
        self.session.add_all(CompanyDomain(domain=domain, company_id=company_id) for domain, company_id in new)
        self.session.flush()
        for folded, (_, wanted) in self._wanted.items():
            self._domains.put(folded, wanted)
        self._wanted.clear()
