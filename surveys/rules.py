"""Rules for sending a survey, with the reason when it is not sent. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from core.reasons import Reason
from core.settings.sections import Surveys

DISABLED = Reason("disabled", "Surveys are switched off")
NO_REQUESTER = Reason("no_requester", "The ticket has no requester")
NO_ADDRESS = Reason("no_address", "The requester has no email address")
INACTIVE = Reason("inactive_contact", "The contact is no longer active")
UNSUBSCRIBED = Reason("unsubscribed", "The contact asked for no more surveys")
AUTOMATIC = Reason("automatic_requester", "The ticket came from a program, which gets no automatic mail")
NOT_COMPLETED = Reason("reopened", "The ticket was no longer completed when the survey was due")
NOT_AGAIN = Reason("same_opening", "A survey was decided before for this opening of the ticket")
#: Reason codes of a skipped creation notice that do not mean that a program wrote: limits and the state of the address.
TEMPORARY_SKIPS = {"ticket_limit", "address_limit", "no_address", "suppressed"}


@dataclass(frozen=True, slots=True)
class Customer:
    """The requester as the rules need it. ``notice_skip_code`` is why the creation notice was skipped, otherwise None."""

    has_address: bool
    active: bool
    unsubscribed: bool
    notice_skip_code: str | None = None


def find_refusal(customer: Customer | None, settings: Surveys) -> Reason | None:
    """Return why no survey is sent, or None when only the throttle slot remains to be reserved."""
    if not settings.enabled:
        return DISABLED
    if customer is None:
        return NO_REQUESTER
    if customer.notice_skip_code is not None and customer.notice_skip_code not in TEMPORARY_SKIPS:
        return AUTOMATIC
    checks = ((customer.has_address, NO_ADDRESS), (customer.active, INACTIVE), (not customer.unsubscribed, UNSUBSCRIBED))
    return next((reason for is_met, reason in checks if not is_met), None)


def throttled_reason(slot: str, settings: Surveys) -> Reason:
    """Return the reason when ``slot``, contact or company, had a survey within the throttle period."""
    return Reason("throttled", f"The {slot} got a survey in the last {settings.days} days")
