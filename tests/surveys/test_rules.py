"""The rules for sending a survey."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from core.settings.sections import Surveys
from surveys.rules import Customer, find_refusal
from surveys.throttle import ThrottleSlot, choose_slot

ON = Surveys()
DANA = Customer(has_address=True, active=True, unsubscribed=False)


@pytest.mark.parametrize(
    ("customer", "settings", "code"),
    [
        (DANA, ON, None),
        (DANA, Surveys(enabled=False), "disabled"),
        (None, ON, "no_requester"),
        (replace(DANA, has_address=False), ON, "no_address"),
        (replace(DANA, active=False), ON, "inactive_contact"),
        (replace(DANA, unsubscribed=True), ON, "unsubscribed"),
        (replace(DANA, notice_skip_code="must_not_autoreply"), ON, "automatic_requester"),
        (replace(DANA, notice_skip_code="address_limit"), ON, None),
        (replace(DANA, notice_skip_code="suppressed"), ON, None),
    ],
)
def test_survey_is_refused_with_reason(customer: Customer | None, settings: Surveys, code: str | None) -> None:
    reason = find_refusal(customer, settings)
    assert (reason.code if reason else None) == code


@pytest.mark.parametrize(
    ("throttle", "company_id", "slot"),
    [
        ("contact", 7, ThrottleSlot("contact", 1)),
        ("company", 7, ThrottleSlot("company", 7)),
        ("company", None, ThrottleSlot("contact", 1)),
    ],
)
def test_slot_is_companys_only_with_setting_and_company(throttle: str, company_id: int | None, slot: ThrottleSlot) -> None:
    assert choose_slot(1, company_id, Surveys.model_validate({"throttle": throttle})) == slot


def test_delay_longer_than_throttle_period_is_refused() -> None:
    with pytest.raises(ValidationError, match="lower delay_hours"):
        Surveys(days=1, delay_hours=25)
