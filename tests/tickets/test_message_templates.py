"""Message templates in the database: shipped once, edited in versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import ConfigurationError, NotFoundError, RefusedError
from tests.tickets.acts import person
from tests.tickets.world import NOW, World
from tickets import message_templates, template_sandbox
from tickets.message_templates import ASK_FOR_MORE, FOLDER, RECAP, TemplateVersion

SHIPPED = Path(__file__).parents[2] / "templates" / "email" / "billing_support"


@pytest.fixture
def office(world: World) -> World:
    """Ada writes, Max manages; the shipped templates are in."""
    world.staff("Ada")
    world.staff("Max", role="manager")
    seed(world)
    return world


def seed(world: World, folder: Path = SHIPPED) -> int:
    return world.database.transaction(lambda session: message_templates.seed(session, folder, NOW))


def edit(world: World, name: str, body: str, *, by: str = "Max", subject: str = "Subject") -> TemplateVersion:
    return world.database.transaction(lambda s: message_templates.edit(s, name, subject, body, person(s, by), NOW))


def find(world: World, name: str, number: int | None = None) -> TemplateVersion:
    with world.database.read() as session:
        return message_templates.find(session, name, number)


def test_the_folder_billing_support_has_the_recap_of_resolution_among_others(office: World) -> None:
    with office.database.read() as session:
        found = {(one.folder, one.name) for one in message_templates.list_all(session)}
    assert (FOLDER, RECAP) in found
    assert (FOLDER, ASK_FOR_MORE) in found
    assert len(found) >= 4
    assert (FOLDER, RECAP) == ("Billing Support", "Billing Support Recap of Resolution")


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.txt")), ids=lambda path: path.stem)
def test_every_shipped_template_can_be_filled(path: Path) -> None:
    _, subject, body = message_templates.read_file(path)
    values = {"ticket": {"number": "BS-1", "name": "Claim"}, "writer": {"name": "Ada"}}
    assert "Hello," in template_sandbox.fill(subject, body, values).text, "a customer without a name is greeted all the same"


def test_bringing_them_in_again_changes_nothing(office: World) -> None:
    assert seed(office) == 0
    with office.database.read() as session:
        assert not message_templates.needs_seeding(session, SHIPPED)


def test_a_newer_wording_of_our_own_is_a_new_version(office: World, tmp_path: Path) -> None:
    (tmp_path / "recap.txt").write_text(f"Name: {RECAP}\nSubject: New\n\nNew words\n")
    assert seed(office, tmp_path) == 1
    assert (find(office, RECAP).number, find(office, RECAP).body) == (2, "New words\n")


def test_an_edited_template_is_never_overwritten(office: World, tmp_path: Path) -> None:
    edit(office, RECAP, "Our own words")
    (tmp_path / "recap.txt").write_text(f"Name: {RECAP}\nSubject: New\n\nNew words\n")
    assert seed(office, tmp_path) == 0
    assert find(office, RECAP).body == "Our own words\n"


def test_each_edit_is_a_version_that_stays(office: World) -> None:
    before = find(office, RECAP)
    saved = edit(office, RECAP, "Second words")
    assert (saved.number, saved.written_by) == (2, "max@billing.example")
    assert find(office, RECAP, 1) == before
    with office.database.read() as session:
        assert [one.number for one in message_templates.history(session, RECAP)] == [2, 1]


def test_the_same_words_again_are_no_version(office: World) -> None:
    edit(office, RECAP, "Words")
    assert edit(office, RECAP, "Words").number == 2


def test_an_earlier_version_comes_back_as_a_new_one(office: World) -> None:
    first = find(office, RECAP)
    edit(office, RECAP, "Worse words")
    restored = office.database.transaction(lambda s: message_templates.restore(s, RECAP, 1, person(s, "Max"), NOW))
    assert (restored.number, restored.body) == (3, first.body)


def test_a_new_name_is_a_new_template(office: World) -> None:
    assert edit(office, "Refund on its way", "It is on its way.").number == 1
    assert find(office, "refund ON its way").name == "Refund on its way"


def test_managers_change_templates_and_others_do_not(office: World) -> None:
    with pytest.raises(RefusedError, match="only managers change templates"):
        edit(office, RECAP, "Words", by="Ada")


def test_what_is_no_template_is_refused_and_what_is_not_there_is_said(office: World) -> None:
    with pytest.raises(RefusedError, match="line 1"):
        edit(office, RECAP, "{{ 'a' * 9 }}")
    for name, number in (("Nothing", None), (RECAP, 9)):
        with pytest.raises(NotFoundError, match="there is no"):
            find(office, name, number)


def test_a_file_without_its_two_first_lines_is_named(tmp_path: Path) -> None:
    (tmp_path / "odd.txt").write_text("Hello\n\nWorld\n")
    with pytest.raises(ConfigurationError, match="begins with the lines"):
        message_templates.read_file(tmp_path / "odd.txt")
