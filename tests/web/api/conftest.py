"""A running server with staff, their API tokens and a company."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from accounts import api_tokens
from accounts.api_tokens import SCOPES
from accounts.directory import add_company, add_staff
from accounts.models import Staff
from core import clock
from tests.web.conftest import Serve, Site
from tickets import manual_entry, message_templates
from tickets.numbers import format_number
from tickets.submission import Submission, TicketSource

ALL_SCOPES = tuple(SCOPES)
TEMPLATES = Path(__file__).parents[3] / "templates" / "email" / "billing_support"


@dataclass
class ApiSite:
    """A site with API tokens: ``ruth`` is a representative, ``mara`` a manager, ``ivan`` an inactive manager."""

    site: Site
    tokens: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        now = clock.now()
        with self.site.database.write() as session:
            for name, role in (("ruth", "representative"), ("mara", "manager"), ("ivan", "manager")):
                add_staff(session, email=f"{name}@billing.example", name=name.title(), role=role)
            add_company(session, name="Riverside Clinic", domains="riverside.example")
            message_templates.seed(session, TEMPLATES, now)
        for name in ("ruth", "mara", "ivan"):
            self.tokens[name] = self.issue(name)
        with self.site.database.write() as session:
            session.query(Staff).filter_by(email="ivan@billing.example").one().active = False

    def issue(self, name: str, scopes: Iterable[str] = ALL_SCOPES, *, days: int = 30, ago: timedelta = timedelta(0)) -> str:
        def unit(session: Any) -> str:
            person = session.query(Staff).filter_by(email=f"{name}@billing.example").one()
            return api_tokens.issue(session, person, "tests", scopes, days, clock.now() - ago)[1]

        return self.site.database.transaction(unit)

    def ticket(self, text: str = "Claim 88 was denied", **fields: Any) -> str:
        """Create a ticket of Dana, who has an email address, and return its number."""
        submission = Submission(
            source=TicketSource.EMAIL, received_at=clock.now(), subject="Denied claim", text=text, email="dana@riverside.example",
            name="Dana Ortiz", **fields,
        )  # fmt: skip
        settings = self.site.settings
        return format_number(
            self.site.database.transaction(
                lambda session: manual_entry.create_by_hand(session, submission, settings, clock.now())
            )
        )

    def call(self, method: str, path: str, body: Any = None, *, by: str = "mara", **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.tokens[by]}", **more.pop("headers", {})}
        sent = {"json": body} if body is not None else {}
        return self.site.client.request(method, f"/api/v1{path}", headers=headers, **sent, **more)

    def get(self, path: str, **params: Any) -> Any:
        response = self.call("GET", path, params=params)
        assert response.status_code == 200, response.text
        return response.json()

    def post(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return self.call("POST", path, {} if body is None else body, **more)


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """SQLite only: what depends on the database is tested on both in test_idempotency."""
    return f"sqlite:///{tmp_path / 'casemill.db'}"


@pytest.fixture
def api(serve: Serve) -> ApiSite:
    return ApiSite(serve())
