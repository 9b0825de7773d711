"""Choose the owner of a ticket made by automation, step by step, each with its reason (domain.md, Assignment). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from core.reasons import Reason
from core.settings.sections import Routing, Rule, Telemedicine

UNASSIGNED_VIEW = "PMB Support Unassigned/Open Tickets"
NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class StaffView:
    """A member of staff as routing sees them. ``load`` is the number of open tickets, counted no further than ``capacity``."""

    id: int
    email: str
    name: str
    active: bool
    capacity: int
    zone: str
    weekdays: str
    starts: time
    ends: time
    stand_in_id: int | None
    last_assigned_at: datetime | None
    absences: tuple[tuple[datetime, datetime], ...] = ()
    load: int = 0

    def is_away(self, now: datetime) -> bool:
        return any(start <= now < end for start, end in self.absences)

    def is_available(self, now: datetime) -> bool:
        return self.active and not self.is_away(now)

    def is_working(self, now: datetime) -> bool:
        local = _local(now, self.zone)
        return str(local.weekday()) in self.weekdays and self.starts <= local.time() < self.ends


@lru_cache(maxsize=64)
def _local(now: datetime, zone: str) -> datetime:
    # Cached: a batch asks for one moment in few zones, once for each person and ticket.
    return now.astimezone(ZoneInfo(zone))


@dataclass(frozen=True, slots=True)
class TeamView:
    """A team as routing sees it."""

    id: int
    name: str
    title: str
    member_ids: tuple[int, ...]
    manager_id: int | None
    is_default: bool


@dataclass(slots=True)
class Staffing:
    """All staff and teams with their loads; a batch keeps the loads up to date as it assigns."""

    people: dict[int, StaffView] = field(default_factory=dict)
    teams: dict[str, TeamView] = field(default_factory=dict)
    assignments: int = 0

    @property
    def default_team(self) -> TeamView | None:
        return next((team for team in self.teams.values() if team.is_default), None)

    def find_by_email(self, email: str) -> StaffView | None:
        return next((person for person in self.people.values() if person.email == email), None)

    def count_assignment(self, person_id: int, now: datetime) -> None:
        """Count an assignment in the person's load.

        All assignments of a batch have the same ``now``; a microsecond more for each keeps their order.
        """
        person = self.people[person_id]
        person.load += 1
        person.last_assigned_at = now + timedelta(microseconds=self.assignments)
        self.assignments += 1


@dataclass(frozen=True, slots=True)
class RoutingInput:
    """What routing decides by: source, category, text, the sender's domain, and the company's own people."""

    source: str
    category: str
    text: str
    sender_domain: str
    company_name: str = ""
    consultant_id: int | None = None
    telemedicine: bool = False


@dataclass(frozen=True, slots=True)
class Assignment:
    """The chosen owner, or None, with every step that was tried."""

    staff_id: int | None
    steps: tuple[Reason, ...]

    @property
    def reason(self) -> Reason:
        return self.steps[-1]


def assign(routing_input: RoutingInput, staffing: Staffing, rules: Sequence[Rule], now: datetime) -> Assignment:
    """Choose the first that fits, and why: consultant, stand-in, routing rules, least loaded of the default team; or no owner."""
    steps: list[Reason] = []
    for choose in (_choose_consultant, _choose_by_rules, _choose_least_loaded):
        person = choose(routing_input, staffing, rules, now, steps)
        if person is not None:
            return Assignment(person.id, tuple(steps))
    steps.append(Reason("nobody", f"No member of staff is available: it waits in {UNASSIGNED_VIEW}"))
    return Assignment(None, tuple(steps))


def find_successor(staffing: Staffing, person_id: int, now: datetime) -> tuple[StaffView | None, Reason]:
    """Choose who takes over from a person who is away or leaves: the stand-in, else the least loaded, else None; and why."""
    steps: list[Reason] = []
    person = _choose_stand_in(staffing.people[person_id], staffing, now, steps)
    if person is None and (team := staffing.default_team) is not None:
        others = [member for member in _members(team, staffing) if member.id != person_id]
        person = _find_least_loaded(others, now)
        if person is not None:
            steps.append(Reason("least_loaded", f"{person.name} has the fewest open tickets in {team.title}"))
    if person is None:
        steps.append(Reason("nobody", f"No member of staff is available: it waits in {UNASSIGNED_VIEW}"))
    return person, steps[-1]


def find_telemedicine_reason(routing_input: RoutingInput, settings: Telemedicine) -> Reason | None:
    """Return why the ticket needs a telemedicine task, or None when it needs none."""
    if routing_input.telemedicine:
        return Reason("telemedicine_company", f"{routing_input.company_name} uses telemedicine")
    if any(routing_input.category.casefold() == category.casefold() for category in settings.categories):
        return Reason("telemedicine_category", "The category is telemedicine")
    if any(_mentions(routing_input.text, keyword) for keyword in settings.keywords):
        return Reason("telemedicine_keyword", "The text mentions telemedicine")
    return None


def _choose_consultant(
    routing_input: RoutingInput, staffing: Staffing, rules: Sequence[Rule], now: datetime, steps: list[Reason]
) -> StaffView | None:
    consultant = staffing.people.get(routing_input.consultant_id or 0)
    if consultant is None:
        company = routing_input.company_name
        text = f"{company} has no operations consultant on record" if company else "No company is known for the sender"
        steps.append(Reason("no_consultant", text))
        return None
    if consultant.is_available(now):
        steps.append(Reason("consultant", f"{consultant.name} is the operations consultant of {routing_input.company_name}"))
        return consultant
    why = "is out of office" if consultant.active else "is no longer active"
    steps.append(
        Reason("consultant_unavailable", f"{consultant.name}, operations consultant of {routing_input.company_name}, {why}")
    )
    return _choose_stand_in(consultant, staffing, now, steps)


def _choose_stand_in(consultant: StaffView, staffing: Staffing, now: datetime, steps: list[Reason]) -> StaffView | None:
    stand_in = staffing.people.get(consultant.stand_in_id or 0)
    if stand_in is None:
        steps.append(Reason("no_stand_in", f"{consultant.name} has no stand-in"))
        return None
    if not stand_in.is_available(now):
        steps.append(Reason("stand_in_unavailable", f"The stand-in {stand_in.name} is not available either"))
        return None
    steps.append(Reason("stand_in", f"{stand_in.name} stands in for {consultant.name}"))
    return stand_in


def _choose_by_rules(
    routing_input: RoutingInput, staffing: Staffing, rules: Sequence[Rule], now: datetime, steps: list[Reason]
) -> StaffView | None:
    for number, rule in enumerate(rules, 1):
        if not _matches(rule, routing_input):
            continue
        person = _choose_by_rule(rule, staffing, now)
        if person is not None:
            steps.append(Reason("routing_rule", f"Routing rule {number} ({_describe(rule)}) gives it to {person.name}"))
            return person
        steps.append(Reason("routing_rule_empty", f"Routing rule {number} ({_describe(rule)}) names no person who is available"))
    if not any(step.code == "routing_rule_empty" for step in steps):
        steps.append(Reason("no_routing_rule", "No routing rule applies"))
    return None


def _choose_by_rule(rule: Rule, staffing: Staffing, now: datetime) -> StaffView | None:
    if rule.person is not None:
        person = staffing.find_by_email(rule.person)
        return person if person is not None and person.is_available(now) else None
    team = staffing.teams.get(rule.team or "")
    return _find_least_loaded(_members(team, staffing), now) if team else None


def _choose_least_loaded(
    routing_input: RoutingInput, staffing: Staffing, rules: Sequence[Rule], now: datetime, steps: list[Reason]
) -> StaffView | None:
    team = staffing.default_team
    if team is None:
        steps.append(Reason("no_default_team", "There is no default team"))
        return None
    person = _find_least_loaded(_members(team, staffing), now)
    if person is None:
        steps.append(Reason("team_full_or_away", f"No member of {team.title} is at work and within capacity"))
        return None
    steps.append(Reason("least_loaded", f"{person.name} has the fewest open tickets in {team.title} ({person.load})"))
    return person


def _find_least_loaded(people: Iterable[StaffView], now: datetime) -> StaffView | None:
    """The least loaded within capacity and working hours; ties go to the one longest without an assignment."""
    free = [person for person in people if person.is_available(now) and person.is_working(now) and person.load < person.capacity]
    return min(free, key=lambda person: (person.load, person.last_assigned_at or NEVER, person.id), default=None)


def _members(team: TeamView, staffing: Staffing) -> list[StaffView]:
    people: Mapping[int, StaffView] = staffing.people
    return [people[member] for member in team.member_ids if member in people]


def _matches(rule: Rule, routing_input: RoutingInput) -> bool:
    return (
        (rule.source is None or rule.source == routing_input.source)
        and (rule.category is None or rule.category.casefold() == routing_input.category.casefold())
        and (rule.keyword is None or _mentions(routing_input.text, rule.keyword))
        and (rule.sender_domain is None or rule.sender_domain == routing_input.sender_domain)
    )


def _describe(rule: Rule) -> str:
    conditions = {"source": rule.source, "category": rule.category, "keyword": rule.keyword, "domain": rule.sender_domain}
    return ", ".join(f"{name} {value}" for name, value in conditions.items() if value)


def _mentions(text: str, keyword: str) -> bool:
    return keyword.casefold() in text.casefold()


def find_telemedicine_assignee(settings: Routing, staffing: Staffing) -> tuple[int | None, int | None]:
    """Return (staff id, team id) for the telemedicine task: the default team and its manager when none is configured."""
    telemedicine = settings.telemedicine
    person = staffing.find_by_email(telemedicine.person) if telemedicine.person else None
    if person is not None and person.active:
        return person.id, None
    team = staffing.teams.get(telemedicine.team or "")
    if team is not None:
        return None, team.id
    default = staffing.default_team
    return (default.manager_id if default else None), (default.id if default else None)
