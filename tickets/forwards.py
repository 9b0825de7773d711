"""Forwards by staff become submissions of the original sender."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.models import Staff
from tickets.submission import Submission


def resolve_forwards(session: Session, submissions: Sequence[Submission]) -> Sequence[Submission]:
    """The submissions, those that staff forwarded as their original sender's. One query a batch that holds a forward, else none.

    Whoever the mailbox could not verify is not believed to be staff.
    """
    senders = {one.email for one in submissions if one.original is not None and one.email and one.verified is not False}
    if not senders:
        return submissions
    staff = find_staff(session, senders)
    return [resolve_forward(one, staff) for one in submissions]


def find_staff(session: Session, addresses: Collection[str]) -> frozenset[str]:
    """Which of the addresses active members of staff have."""
    found = session.execute(select(Staff.email).where(Staff.email.in_(sorted(addresses)), Staff.active.is_(True)))
    return frozenset(found.scalars())


def resolve_forward(submission: Submission, staff: Collection[str]) -> Submission:
    """The submission, or the original sender's when one of ``staff`` forwarded it. Pure."""
    by_staff = submission.email in staff and submission.verified is not False
    return submission.original if submission.original is not None and by_staff else submission
