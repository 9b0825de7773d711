"""When reminders and escalations are due."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.settings.sections import Calendar
from tickets.deadlines import due_after

NEW_YORK = ZoneInfo("America/New_York")
THANKSGIVING = date(2026, 11, 26)


def at(text: str, zone: ZoneInfo = NEW_YORK) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)


def local(moment: datetime, zone: ZoneInfo = NEW_YORK) -> str:
    return moment.astimezone(zone).strftime("%a %Y-%m-%d %H:%M")


def business(**values: object) -> Calendar:
    return Calendar.model_validate({"days": "business", **values})


@pytest.mark.parametrize("days", [1, 2, 3, 10])
def test_calendar_days_are_elapsed_days(days: int) -> None:
    opened = at("2026-11-27 17:30")
    assert due_after(opened, days, Calendar()) == opened + timedelta(days=days)


def test_calendar_days_ignore_weekends_holidays_and_hours() -> None:
    calendar = Calendar(holidays=[THANKSGIVING])
    assert due_after(at("2026-11-25 22:00"), 2, calendar) == at("2026-11-27 22:00")


@pytest.mark.parametrize(
    ("opened", "days", "due"),
    [
        ("2026-11-23 10:00", 2, "Wed 2026-11-25 10:00"),
        ("2026-11-20 10:00", 1, "Mon 2026-11-23 10:00"),  # over a weekend
        ("2026-11-19 10:00", 2, "Mon 2026-11-23 10:00"),
        ("2026-11-20 10:00", 3, "Wed 2026-11-25 10:00"),
        ("2026-11-21 10:00", 1, "Tue 2026-11-24 09:00"),  # opened on a Saturday: counts from Monday's opening
        ("2026-11-23 07:00", 1, "Tue 2026-11-24 09:00"),  # before opening
        ("2026-11-23 09:00", 1, "Tue 2026-11-24 09:00"),
        ("2026-11-23 16:59", 1, "Tue 2026-11-24 16:59"),
        ("2026-11-23 17:00", 1, "Wed 2026-11-25 09:00"),  # after closing: Tuesday's opening
        ("2026-11-20 23:59", 1, "Tue 2026-11-24 09:00"),  # Friday night is no later than Saturday
    ],
)
def test_business_days_skip_weekends_and_count_from_the_opening(opened: str, days: int, due: str) -> None:
    assert local(due_after(at(opened), days, business())) == due


def test_business_days_skip_holidays_next_to_weekends() -> None:
    calendar = business(holidays=[THANKSGIVING, date(2026, 11, 27)])
    assert local(due_after(at("2026-11-25 10:00"), 1, calendar)) == "Mon 2026-11-30 10:00"
    assert local(due_after(at("2026-11-26 10:00"), 1, calendar)) == "Tue 2026-12-01 09:00"


def test_the_zone_of_the_calendar_decides_which_day_it_is() -> None:
    friday_evening_there = at("2026-11-20 16:00", ZoneInfo("America/Los_Angeles"))  # 19:00 in New York
    pacific = business(zone="America/Los_Angeles")
    assert local(due_after(friday_evening_there, 1, pacific), ZoneInfo("America/Los_Angeles")) == "Mon 2026-11-23 16:00"
    assert local(due_after(friday_evening_there, 1, business())) == "Tue 2026-11-24 09:00"


@pytest.mark.parametrize(
    ("opened", "due", "elapsed"),
    [("2026-03-06 10:00", "Mon 2026-03-09 10:00", 71), ("2026-10-30 10:00", "Mon 2026-11-02 10:00", 73)],
    ids=["clocks go forward", "clocks go back"],
)
def test_business_days_keep_the_local_time_over_a_change_of_the_clock(opened: str, due: str, elapsed: int) -> None:
    moment = due_after(at(opened), 1, business())
    assert local(moment) == due
    assert moment - at(opened) == timedelta(hours=elapsed)


@pytest.mark.parametrize("opened", ["2026-03-07 12:00", "2026-10-31 12:00"])
def test_calendar_days_are_24_hours_over_a_change_of_the_clock(opened: str) -> None:
    assert due_after(at(opened), 2, Calendar()) - at(opened) == timedelta(hours=48)


def test_local_time_skipped_by_a_clock_change_moves_forward() -> None:
    calendar = business(weekdays=[0, 1, 2, 3, 4, 5, 6], opens=time(0), closes=time(23, 59))
    assert local(due_after(at("2026-03-07 02:30"), 1, calendar)) == "Sun 2026-03-08 03:30"


MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - naive bounds
ZONES = st.sampled_from(["UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Auckland", "Asia/Kolkata"])
HOLIDAYS = st.lists(st.dates(date(2024, 1, 1), date(2030, 3, 1)), max_size=40)
WEEKDAYS = st.lists(st.integers(0, 6), min_size=1, max_size=7, unique=True)
HOURS = st.lists(st.times(), min_size=2, max_size=2, unique=True).map(sorted)
DAYS = st.integers(1, 10)


@st.composite
def calendars(draw: st.DrawFn, zones: st.SearchStrategy[str] = ZONES) -> Calendar:
    opens, closes = draw(HOURS)
    days = draw(st.sampled_from(["calendar", "business"]))
    values = {"zone": draw(zones), "holidays": draw(HOLIDAYS), "weekdays": draw(WEEKDAYS)}
    return Calendar.model_validate({"days": days, "opens": opens, "closes": closes, **values})


@given(MOMENTS, DAYS, calendars())
def test_due_time_is_in_the_future_and_more_days_are_no_earlier(opened: datetime, days: int, calendar: Calendar) -> None:
    due = due_after(opened, days, calendar)
    assert due > opened
    assert due_after(opened, days + 1, calendar) > due


@given(MOMENTS, st.timedeltas(timedelta(0), timedelta(days=10)), DAYS, calendars(st.sampled_from(["UTC", "Asia/Kolkata"])))
def test_ticket_opened_later_is_due_no_earlier(opened: datetime, later: timedelta, days: int, calendar: Calendar) -> None:
    assert due_after(opened, days, calendar) <= due_after(opened + later, days, calendar)


@given(MOMENTS, st.timedeltas(timedelta(0), timedelta(days=10)), DAYS, calendars())
def test_clock_change_shifts_the_order_by_the_change_at_most(
    opened: datetime, later: timedelta, days: int, calendar: Calendar
) -> None:
    assert due_after(opened, days, calendar) <= due_after(opened + later, days, calendar) + timedelta(hours=1)


@given(MOMENTS, DAYS, calendars(), HOLIDAYS)
@settings(max_examples=200)
def test_more_holidays_never_make_a_due_time_earlier(
    opened: datetime, days: int, calendar: Calendar, holidays: list[date]
) -> None:
    more = calendar.model_copy(update={"holidays": [*calendar.holidays, *holidays]})
    assert due_after(opened, days, more) >= due_after(opened, days, calendar) - timedelta(hours=1)
    if calendar.zone in ("UTC", "Asia/Kolkata"):
        assert due_after(opened, days, more) >= due_after(opened, days, calendar)


@given(MOMENTS, DAYS, calendars())
def test_business_days_end_within_working_hours(opened: datetime, days: int, calendar: Calendar) -> None:
    if calendar.days == "calendar" or calendar.zone not in ("UTC", "Asia/Kolkata"):
        return
    due = due_after(opened, days, calendar).astimezone(ZoneInfo(calendar.zone))
    assert due.weekday() in calendar.weekdays and due.date() not in calendar.holidays
    assert calendar.opens <= due.time() < calendar.closes
