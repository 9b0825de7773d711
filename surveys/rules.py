"""Whether a survey may go, and why not. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from core.reasons import Reason
from core.settings.sections import Surveys

DISABLED = Reason("disabled", "Surveys are switched off")
NO_REQUESTER = Reason("no_requester", "The ticket has no requester")
NO_ADDRESS = Reason("no_address", "The requester has no email address")
INACTIVE = Reason("inactive_contact", "The contact is no longer active")
UNSUBSCRIBED = Reason("unsubscribed", "The contact asked for no more surveys")
AUTOMATIC = Reason("automatic_requester", "What made the ticket was sent by a program, which gets no automatic mail")
NOT_COMPLETED = Reason("reopened", "The ticket was no longer completed when the survey was due")
NOT_AGAIN = Reason("same_opening", "This opening of the ticket has had its survey decided before")
#: Outcomes of the creation notice that say nothing of who wrote: limits, and addresses that are looked at again.
PASSING = {"ticket_limit", "address_limit", "no_address", "suppressed"}


@dataclass(frozen=True, slots=True)
class Customer:
    """The requester as the rules see them. ``silence`` is the code for which the creation notice was skipped, else None."""

    has_address: bool
    active: bool
    unsubscribed: bool
    silence: str | None = None


def refuse(customer: Customer | None, settings: Surveys) -> Reason | None:
    """Why there is no survey, or None when nothing but the slot is in its way."""
    if not settings.enabled:
        return DISABLED
    if customer is None:
        return NO_REQUESTER
    if customer.silence is not None and customer.silence not in PASSING:
        return AUTOMATIC
    checks = ((customer.has_address, NO_ADDRESS), (customer.active, INACTIVE), (not customer.unsubscribed, UNSUBSCRIBED))
    return next((reason for fits, reason in checks if not fits), None)


def throttled(slot: str, settings: Surveys) -> Reason:
    """The slot was taken."""
    return Reason("throttled", f"The {slot} was asked in the last {settings.days} days")
