"""Turn forwards by staff into submissions of the original sender."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.models import Staff
from tickets.submission import Submission


def resolve_forwards(session: Session, submissions: Sequence[Submission]) -> Sequence[Submission]:
    """Return the submissions, with the original message in place of each that a member of staff forwarded.

    Runs one query for a batch that holds a forward, else none. A sender whose mail failed authentication does not count as staff.
    """
    senders = {one.email for one in submissions if one.original is not None and one.email and one.verified is not False}
    if not senders:
        return submissions
    staff = find_staff(session, senders)
    return [resolve_forward(one, staff) for one in submissions]


def find_staff(session: Session, addresses: Collection[str]) -> frozenset[str]:
    """Return those of the addresses that belong to active members of staff."""
    found = session.execute(select(Staff.email).where(Staff.email.in_(sorted(addresses)), Staff.active.is_(True)))
    return frozenset(found.scalars())


def resolve_forward(submission: Submission, staff: Collection[str]) -> Submission:
    """Return the submission, or the original message when an address of ``staff`` forwarded it. Pure."""
    by_staff = submission.email in staff and submission.verified is not False
    return submission.original if submission.original is not None and by_staff else submission
