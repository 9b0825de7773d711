"""The sample world: a fictional support team with its practices, stored through the functions of the directory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from accounts.directory import add_company, add_contact, add_staff, retry_on_conflict, set_out_of_office
from accounts.teams import sync_teams
from core.database.session import Database
from demo.configuration import DOMAIN, TEAMS

#: local part, name, role, capacity, hours, zone, skills, stand-in
STAFF = (
    ("ruth.calder", "Ruth Calder", "manager", 20, "08:00-17:00", "America/New_York", "escalations", "neil.arden"),
    ("neil.arden", "Neil Arden", "manager", 20, "09:00-18:00", "America/Chicago", "onboarding", "ruth.calder"),
    ("carla.mendes", "Carla Mendes", "manager", 15, "08:00-16:30", "America/Los_Angeles", "escalations, appeals", "ruth.calder"),
    ("omar.haddad", "Omar Haddad", "representative", 40, "08:00-17:00", "America/New_York", "claims, denials", "lena.fischer"),
    ("lena.fischer", "Lena Fischer", "representative", 40, "08:30-17:30", "America/New_York", "eligibility", "omar.haddad"),
    ("priya.nair", "Priya Nair", "representative", 35, "09:00-18:00", "America/Chicago", "denials, appeals", "tomas.vega"),
    ("tomas.vega", "Tomás Vega", "representative", 35, "08:00-17:00", "America/Chicago", "payments", "priya.nair"),
    ("grace.okafor", "Grace Okafor", "representative", 30, "08:00-17:00", "America/Denver", "workers comp, auto", "sam.whitlock"),
    ("sam.whitlock", "Sam Whitlock", "representative", 25, "07:00-15:30", "America/Los_Angeles", "eligibility", "grace.okafor"),
    ("jennifer.marsh", "Jennifer Marsh", "representative", 30, "09:00-17:00", "America/New_York", "telemedicine", "yuki.tanaka"),
    ("yuki.tanaka", "Yuki Tanaka", "representative", 30, "08:00-17:00", "America/Los_Angeles", "telemedicine, credentialing",
     "jennifer.marsh"),
)  # fmt: skip
#: Out of office, so that their tickets go to the stand-in.
AWAY_STAFF = "priya.nair"

#: name, domains, manager, consultant, account number, telemedicine, active
COMPANIES = (
    ("Riverside Family Clinic", "riverside.example", "ruth.calder", "omar.haddad", "100234", False, True),
    ("Oak Hill Pediatrics, P.C.", "oakhillpeds.example", "ruth.calder", "lena.fischer", "100871", False, True),
    (
        "Bluewater Behavioral Health LLC",
        "bluewaterbh.example, bluewater-care.example",
        "neil.arden",
        "tomas.vega",
        "101902",
        True,
        True,
    ),
    ("Summit Orthopedics & Sports Medicine", "summitortho.example", "carla.mendes", "priya.nair", "102455", False, True),
    ("Prairie Dermatology Associates", "prairiederm.example", "neil.arden", None, "103118", False, True),
    ("Harbor Street Chiropractic", "harborchiro.example", "carla.mendes", "grace.okafor", "099410", False, False),
)

#: address, name, phone, company, prefers phone, account administrator
CONTACTS = (
    ("dana.ortiz@riverside.example", "Dana Ortiz", "(555) 010-4477", "Riverside Family Clinic", False, True),
    ("marcus.bell@riverside.example", "Marcus Bell", "(555) 010-4478", "Riverside Family Clinic", False, False),
    ("frontdesk@riverside.example", "Riverside Front Desk", "(555) 010-4400", "Riverside Family Clinic", True, False),
    ("helen.cho@oakhillpeds.example", "Helen Cho", "(555) 010-2210", "Oak Hill Pediatrics", False, True),
    ("billing@oakhillpeds.example", "Oak Hill Billing Office", "(555) 010-2200", "Oak Hill Pediatrics", False, False),
    ("theo.grant@bluewaterbh.example", "Theo Grant", "(555) 010-7350", "Bluewater Behavioral Health", False, True),
    ("ines.moreau@bluewater-care.example", "Inès Moreau", "(555) 010-7351", "Bluewater Behavioral Health", False, False),
    ("wanda.pike@bluewaterbh.example", "Wanda Pike", "(555) 010-7352", "Bluewater Behavioral Health", True, False),
    ("raj.patel@summitortho.example", "Raj Patel", "(555) 010-6120", "Summit Orthopedics & Sports Medicine", False, True),
    ("molly.stein@summitortho.example", "Molly Stein", "(555) 010-6121", "Summit Orthopedics & Sports Medicine", False, False),
    ("kurt.lang@summitortho.example", "Kurt Lang", "(555) 010-6122", "Summit Orthopedics & Sports Medicine", True, False),
    ("anita.rowe@prairiederm.example", "Anita Rowe", "(555) 010-8840", "Prairie Dermatology Associates", False, True),
    ("jo.whitfield@prairiederm.example", "Jo Whitfield", "(555) 010-8841", "Prairie Dermatology Associates", False, False),
    ("cole.baxter@harborchiro.example", "Cole Baxter", "(555) 010-9012", "Harbor Street Chiropractic", False, True),
    ("evelyn.marsh.billing@mailhub.example", "Evelyn Marsh", "(555) 010-3377", "Prairie Dermatology Associates", True, False),
)


@dataclass(frozen=True, slots=True)
class SampleWorldCounts:
    """The numbers of entries in the sample world."""

    staff: int
    companies: int
    contacts: int
    teams: int


def load_sample_world(database: Database, now: datetime) -> SampleWorldCounts:
    """Store the sample world in one transaction. A second call only moves the dates of the absence, which follow ``now``."""

    def fill(session: Session) -> SampleWorldCounts:
        _add_staff(session, now)
        _add_companies(session)
        for email, name, phone, company, by_phone, is_admin in CONTACTS:
            preferred = "phone" if by_phone else "email"
            add_contact(
                session, email=email, name=name, phone=phone, company=company, preferred_contact=preferred, is_admin=is_admin
            )
        sync_teams(session, TEAMS)
        return SampleWorldCounts(len(STAFF), len(COMPANIES), len(CONTACTS), len(TEAMS))

    return retry_on_conflict(database, fill)


def _add_staff(session: Session, now: datetime) -> None:
    for local, name, role, capacity, hours, zone, skills, _ in STAFF:
        values: dict[str, Any] = {
            "name": name, "role": role, "capacity": capacity, "hours": hours, "zone": zone, "skills": skills,
        }  # fmt: skip
        add_staff(session, email=_staff_address(local), weekdays="Mon-Fri", **values)
    for local, *_, stand_in in STAFF:
        add_staff(session, email=_staff_address(local), stand_in=_staff_address(stand_in))
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    starts, ends = midnight - timedelta(days=1), midnight + timedelta(days=6)
    set_out_of_office(session, email=_staff_address(AWAY_STAFF), starts=starts, ends=ends)


def _add_companies(session: Session) -> None:
    for name, domains, manager, consultant, account_number, telemedicine, active in COMPANIES:
        add_company(
            session, name=name, domains=domains, manager=_staff_address(manager),
            consultant=_staff_address(consultant) if consultant else None, account_number=account_number,
            telemedicine=telemedicine, active=active,
        )  # fmt: skip


def _staff_address(local: str) -> str:
    return f"{local}@{DOMAIN}"
