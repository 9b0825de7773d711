"""Forwards by staff become submissions of the original sender."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.models import Staff
from tickets.submission import Submission


def settle(session: Session, submissions: Sequence[Submission]) -> Sequence[Submission]:
    """The submissions, those that staff forwarded as their original sender's. One query a batch that holds a forward, else none.

    Whoever the mailbox could not verify is not believed to be staff.
    """
    senders = {one.email for one in submissions if one.original is not None and one.email and one.verified is not False}
    if not senders:
        return submissions
    found = session.execute(select(Staff.email).where(Staff.email.in_(sorted(senders)), Staff.active.is_(True)))
    staff = set(found.scalars())
    return [_settle(one, staff) for one in submissions]


def _settle(submission: Submission, staff: set[str]) -> Submission:
    by_staff = submission.email in staff and submission.verified is not False
    return submission.original if submission.original is not None and by_staff else submission
