"""The survey form and the page to unsubscribe, over HTTP."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from accounts.models import Contact
from core import clock
from core.signing import Signer
from surveys.models import Survey
from tests.tickets.world import World, dana_mail
from tests.web.conftest import Site

ACCEPT_HTML = {"accept": "text/html"}


@pytest.fixture
def survey_site(site: Site) -> Site:
    """A site where survey 1 of ticket 1 has just been sent to Dana."""
    world = World(site.database)
    world.receive(dana_mail(name="Dana Canary", text="Canary words"))
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


def is_unsubscribed(site: Site) -> bool:
    with site.database.read() as session:
        return session.execute(select(Contact.surveys_off_at)).scalar_one() is not None


def update_survey(site: Site, **values: object) -> None:
    with site.database.write() as session:
        session.execute(update(Survey).values(**values))


def test_get_shows_prefilled_form_and_stores_nothing(survey_site: Site) -> None:
    page = survey_site.client.get(link(survey_site, "s1"), params={"score": "4"}, headers=ACCEPT_HTML)
    assert page.status_code == 200
    assert 'value="4" required checked' in page.text and "BS-000001" in page.text
    assert "Canary" not in page.text
    assert page.headers["cache-control"] == "no-store"
    assert "form-action 'self'" in page.headers["content-security-policy"]
    assert "<script" not in page.text and "http-equiv" not in page.text
    assert survey(survey_site).score is None


def test_post_stores_answer_and_second_post_changes_it(survey_site: Site) -> None:
    first = survey_site.client.post(link(survey_site, "s1"), data={"score": "2", "comment": "Slow\r\n<b>"}, headers=ACCEPT_HTML)
    assert (first.status_code, survey(survey_site).score, survey(survey_site).comment) == (200, 2, "Slow\n<b>")
    assert "&lt;b&gt;" in survey_site.client.get(link(survey_site, "s1"), headers=ACCEPT_HTML).text
    survey_site.client.post(link(survey_site, "s1"), data={"score": "5", "comment": ""}, headers=ACCEPT_HTML)
    assert (survey(survey_site).score, survey(survey_site).comment, survey(survey_site).answers) == (5, "", 2)


@pytest.mark.parametrize("data", [{}, {"score": "0"}, {"score": "9"}, {"score": "3", "comment": "x" * 4001}])
def test_invalid_answer_shows_form_again_and_is_not_stored(survey_site: Site, data: dict[str, str]) -> None:
    again = survey_site.client.post(link(survey_site, "s1"), data=data, headers=ACCEPT_HTML)
    assert (again.status_code, survey(survey_site).score) == (422, None)
    assert 'role="alert"' in again.text


def test_answer_cannot_be_changed_after_a_week(survey_site: Site) -> None:
    survey_site.client.post(link(survey_site, "s1"), data={"score": "2"})
    update_survey(survey_site, first_answered_at=clock.now() - timedelta(days=8))
    for answer in (
        survey_site.client.get(link(survey_site, "s1")),
        survey_site.client.post(link(survey_site, "s1"), data={"score": "5"}),
    ):
        assert (answer.status_code, "can no longer be changed" in answer.text) == (200, True)
    assert survey(survey_site).score == 2


def test_all_bad_links_get_same_404(survey_site: Site) -> None:
    signed = link(survey_site, "u1").rpartition("/")[2]
    wrong = [
        "/care/surveys/x",
        "/care/surveys/unsubscribe/x",
        f"/care/surveys/{signed}",
        link(survey_site, "s2"),
        link(survey_site, "u2"),
    ]
    answers = [call(path, headers=ACCEPT_HTML) for path in wrong for call in (survey_site.client.get, survey_site.client.post)]
    update_survey(survey_site, invited_at=clock.now() - timedelta(days=61))
    answers += [survey_site.client.get(link(survey_site, "s1"), headers=ACCEPT_HTML)]
    assert {(answer.status_code, answer.text) for answer in answers} == {(404, "There is nothing here.\n")}


def test_get_of_unsubscribe_shows_button_and_changes_nothing(survey_site: Site) -> None:
    page = survey_site.client.get(link(survey_site, "u1"), headers=ACCEPT_HTML)
    assert (page.status_code, "<button" in page.text, is_unsubscribed(survey_site)) == (200, True, False)


@pytest.mark.parametrize("data", [{}, {"List-Unsubscribe": "One-Click"}])
def test_button_and_one_click_of_mail_program_unsubscribe(survey_site: Site, data: dict[str, str]) -> None:
    for _ in range(2):
        assert survey_site.client.post(link(survey_site, "u1"), data=data).status_code == 200
    assert is_unsubscribed(survey_site)


def test_oversized_survey_post_is_refused(survey_site: Site) -> None:
    refused = survey_site.client.post(link(survey_site, "s1"), content=b"score=3&comment=" + b"x" * 70_000)
    assert (refused.status_code, survey(survey_site).score) == (413, None)
