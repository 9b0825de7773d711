"""The survey's form and the page to unsubscribe over HTTP: a GET changes nothing, a POST stores, wrong links are alike."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from accounts.models import Contact
from core import clock
from core.signing import Signer
from surveys.models import Survey
from tests.tickets.world import World, matter
from tests.web.conftest import Site

PAGE = {"accept": "text/html"}


@pytest.fixture
def asked(site: Site) -> Site:
    """Survey 1 of ticket 1 has just been sent to Dana."""
    world = World(site.database)
    world.receive(matter(name="Dana Canary", text="Canary words"))
    now = clock.now()
    requester = world.ticket(1).requester_id
    world._add(Survey, ticket_id=1, opening=1, contact_id=requester, state="sent", due_at=now, invited_at=now, sent_at=now,
               created_at=now)  # fmt: skip
    return site


def link(site: Site, token: str) -> str:
    signed = Signer(site.settings.signing_keys(), site.settings.notices.domain).link(token)
    return f"/care/surveys/{'unsubscribe/' if token[0] == 'u' else ''}{signed}"


def survey(site: Site) -> Survey:
    with site.database.read() as session:
        return session.execute(select(Survey)).scalar_one()


def is_off(site: Site) -> bool:
    with site.database.read() as session:
        return session.execute(select(Contact.surveys_off_at)).scalar_one() is not None


def age(site: Site, **values: object) -> None:
    with site.database.write() as session:
        session.execute(update(Survey).values(**values))


def test_a_get_shows_the_form_prefilled_and_stores_nothing(asked: Site) -> None:
    page = asked.client.get(link(asked, "s1"), params={"score": "4"}, headers=PAGE)
    assert page.status_code == 200
    assert 'value="4" required checked' in page.text and "BS-000001" in page.text
    assert "Canary" not in page.text
    assert page.headers["cache-control"] == "no-store"
    assert "form-action 'self'" in page.headers["content-security-policy"]
    assert "<script" not in page.text and "http-equiv" not in page.text
    assert survey(asked).score is None


def test_a_post_stores_the_answer_and_another_changes_it(asked: Site) -> None:
    first = asked.client.post(link(asked, "s1"), data={"score": "2", "comment": "Slow\r\n<b>"}, headers=PAGE)
    assert (first.status_code, survey(asked).score, survey(asked).comment) == (200, 2, "Slow\n<b>")
    assert "&lt;b&gt;" in asked.client.get(link(asked, "s1"), headers=PAGE).text
    asked.client.post(link(asked, "s1"), data={"score": "5", "comment": ""}, headers=PAGE)
    assert (survey(asked).score, survey(asked).comment, survey(asked).answers) == (5, "", 2)


@pytest.mark.parametrize("data", [{}, {"score": "0"}, {"score": "9"}, {"score": "3", "comment": "x" * 4001}])
def test_what_is_no_answer_is_asked_for_again_and_not_stored(asked: Site, data: dict[str, str]) -> None:
    again = asked.client.post(link(asked, "s1"), data=data, headers=PAGE)
    assert (again.status_code, survey(asked).score) == (422, None)
    assert 'role="alert"' in again.text


def test_a_week_after_the_first_answer_a_kind_page_says_that_it_is_closed(asked: Site) -> None:
    asked.client.post(link(asked, "s1"), data={"score": "2"})
    age(asked, first_answered_at=clock.now() - timedelta(days=8))
    for answer in (asked.client.get(link(asked, "s1")), asked.client.post(link(asked, "s1"), data={"score": "5"})):
        assert (answer.status_code, "can no longer be changed" in answer.text) == (200, True)
    assert survey(asked).score == 2


def test_all_wrong_links_get_the_same_plain_answer(asked: Site) -> None:
    signed = link(asked, "u1").rpartition("/")[2]
    wrong = ["/care/surveys/x", "/care/surveys/unsubscribe/x", f"/care/surveys/{signed}", link(asked, "s2"), link(asked, "u2")]
    answers = [call(path, headers=PAGE) for path in wrong for call in (asked.client.get, asked.client.post)]
    age(asked, invited_at=clock.now() - timedelta(days=61))
    answers += [asked.client.get(link(asked, "s1"), headers=PAGE)]
    assert {(answer.status_code, answer.text) for answer in answers} == {(404, "There is nothing here.\n")}


def test_to_unsubscribe_a_get_shows_a_button_and_changes_nothing(asked: Site) -> None:
    page = asked.client.get(link(asked, "u1"), headers=PAGE)
    assert (page.status_code, "<button" in page.text, is_off(asked)) == (200, True, False)


@pytest.mark.parametrize("data", [{}, {"List-Unsubscribe": "One-Click"}])
def test_the_button_and_the_one_click_of_a_mail_program_unsubscribe(asked: Site, data: dict[str, str]) -> None:
    for _ in range(2):
        assert asked.client.post(link(asked, "u1"), data=data).status_code == 200
    assert is_off(asked)


def test_a_body_that_is_far_too_large_is_refused(asked: Site) -> None:
    refused = asked.client.post(link(asked, "s1"), content=b"score=3&comment=" + b"x" * 70_000)
    assert (refused.status_code, survey(asked).score) == (413, None)
