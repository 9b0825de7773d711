"""Compute when reminders, escalations and tasks are due. Pure: the calendar and a time come in, a time goes out."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from core.settings.sections import Calendar


def due_after(opened_at: datetime, days: int, calendar: Calendar) -> datetime:
    """Return the time ``days`` after ``opened_at``: elapsed 24-hour days, or business days at the same local time.

    Business days skip weekends and holidays in the calendar's zone. What is opened out of hours counts from the next opening:
    otherwise Friday's last ticket would be due after Saturday's first. A local time that a clock change leaves out moves forward
    by that change (PEP 495).
    """
    if calendar.days == "calendar":
        return opened_at + timedelta(days=days)
    zone = ZoneInfo(calendar.zone)
    local = _next_working_time(opened_at.astimezone(zone).replace(tzinfo=None), calendar)
    for _ in range(days):
        local = _next_business_day(local, calendar)
    return local.replace(tzinfo=zone).astimezone(UTC)


def day_after(now: datetime, zone: str) -> datetime:
    """Return when the next day begins in ``zone``: what is due before then is due today, or overdue."""
    local = now.astimezone(ZoneInfo(zone))
    return datetime.combine(local.date() + timedelta(days=1), time(), ZoneInfo(zone)).astimezone(UTC)


def _next_working_time(local: datetime, calendar: Calendar) -> datetime:
    """``local`` (a naive local time) if it lies in working hours, else the next opening."""
    if _is_business_day(local, calendar) and local.time() < calendar.closes:
        return max(local, datetime.combine(local.date(), calendar.opens))
    return datetime.combine(_next_business_day(local, calendar).date(), calendar.opens)


def _next_business_day(local: datetime, calendar: Calendar) -> datetime:
    local += timedelta(days=1)
    while not _is_business_day(local, calendar):
        local += timedelta(days=1)
    return local


def _is_business_day(local: datetime, calendar: Calendar) -> bool:
    return local.weekday() in calendar.weekdays and local.date() not in calendar.holidays
