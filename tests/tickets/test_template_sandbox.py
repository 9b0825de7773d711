"""Message templates filled in a sandbox."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import RefusedError
from tickets import template_sandbox

VALUES = {"ticket": {"number": "BS-000123"}, "contact": {"name": "Dana"}, "company": {"name": ""}, "resolution": "Paid in full."}


def fill(text: str, **values: str) -> template_sandbox.FilledTemplate:
    return template_sandbox.fill("About {{ ticket.number }}", text, {**VALUES, **values})


def test_placeholders_are_filled_from_ticket_company_contact_and_writer() -> None:
    filled = fill("Hello {{ contact.name }},\n\n{{ resolution }}")
    assert (filled.subject, filled.text, filled.unfilled) == ("About BS-000123", "Hello Dana,\n\nPaid in full.\n", ())


@pytest.mark.parametrize("name", ["company.name", "contact.phone", "claim", "planet.name", "ticket.number.digits"])
def test_an_empty_or_unknown_placeholder_stays_as_it_is_and_is_named(name: str) -> None:
    filled = fill(f"For {{{{ {name} }}}}.")
    assert filled.text == f"For {{{{ {name} }}}}.\n"
    assert filled.unfilled == (name,)


@pytest.mark.parametrize("name", ["contact", "ticket"])
def test_a_whole_group_is_no_placeholder(name: str) -> None:
    filled = fill(f"Hello {{{{ {name} }}}}")
    assert (filled.text, filled.unfilled) == (f"Hello {{{{ {name} }}}}\n", (name,))


def test_a_placeholder_that_is_half_deleted_is_named() -> None:
    assert template_sandbox.find_unfilled("Subject {{ a }}", "Call {{ contact.phone today, {{ soon") == (
        "a",
        "contact.phone today, {{ soon",
    )


@pytest.mark.parametrize("text", ["{{" + " " * 100_000, "{{" * 50_000, "{{ }}" * 20_000, "{" * 100_000, "{%" + "x%" * 50_000])
@pytest.mark.timeout(10)
def test_search_for_placeholders_takes_linear_time(text: str) -> None:
    assert template_sandbox.find_unfilled("", text)


def test_a_condition_leaves_out_what_has_no_value() -> None:
    assert fill("Hello{% if company.name %} of {{ company.name }}{% endif %}.").text == "Hello.\n"
    assert fill("{% if not company.name %}Whoever you are{% else %}{{ company.name }}{% endif %}").text == "Whoever you are\n"


def test_value_is_inserted_as_text_not_as_template() -> None:
    filled = fill("{{ note }}", note="{{ ticket.number }} {% if %}")
    assert filled.text == "{{ ticket.number }} {% if %}\n"
    assert filled.unfilled == ("ticket.number", "if")


def test_control_characters_of_a_value_are_removed() -> None:
    assert template_sandbox.fill("About {{ note }}", "Text", {"note": "a\x00b\r\nBcc: x"}).subject == "About ab Bcc: x"


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'a' * 10**9 }}", "{{ ().__class__.__mro__ }}", "{% for a in ticket %}{{ a }}{% endfor %}", "{{ contact.name|upper }}",
        "{{ range(9) }}", "{{ a + b }}", "{{ a ~ b }}", "{{ ticket['number'] }}", "{% set a = 1 %}", "{% include 'x' %}",
        "{% macro m() %}{% endmacro %}", "{{ 1 if a else 2 }}", "{{ contact.name", "{% if a %}", "{{ }}",
    ],
)  # fmt: skip
def test_a_template_holds_placeholders_and_conditions_and_nothing_else(text: str) -> None:
    with pytest.raises(RefusedError) as refused:
        template_sandbox.check("Subject", text)
    assert refused.value.code == "bad_template"
    assert refused.value.hint


@pytest.mark.parametrize(
    ("subject", "text", "code"),
    [
        ("", "Text", "empty_template"),
        ("S", " \n", "empty_template"),
        ("S\nBcc: x", "T", "bad_template"),
        ("S", "x" * 20_001, "too_long"),
    ],
)
def test_a_template_needs_a_subject_of_one_line_and_a_text_of_some_length(subject: str, text: str, code: str) -> None:
    with pytest.raises(RefusedError) as refused:
        template_sandbox.check(subject, text)
    assert refused.value.code == code


@given(st.text(alphabet="ab {}%#._|()*'\n", max_size=60))
def test_any_typed_template_is_filled_or_refused(text: str) -> None:
    try:
        filled = template_sandbox.fill("S", text, {"a": "x", "b": "y"})
    except RefusedError:
        return
    assert len(filled.text) <= 200
