"""Message templates in the database: shipped once, edited in versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import ConfigurationError, NotFoundError, RefusedError
from tests.tickets.staff_actions import person
from tests.tickets.world import NOW, World
from tickets import message_templates, template_sandbox
from tickets.message_templates import ASK_FOR_MORE, FOLDER, RECAP, TemplateVersion

SHIPPED = Path(__file__).parents[2] / "templates" / "email" / "billing_support"


@pytest.fixture
def world_with_templates(world: World) -> World:
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


def test_the_folder_billing_support_has_the_recap_of_resolution_among_others(world_with_templates: World) -> None:
    with world_with_templates.database.read() as session:
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


def test_seeding_again_changes_nothing(world_with_templates: World) -> None:
    assert seed(world_with_templates) == 0
    with world_with_templates.database.read() as session:
        assert not message_templates.needs_seeding(session, SHIPPED)


def test_changed_shipped_template_becomes_a_new_version(world_with_templates: World, tmp_path: Path) -> None:
    (tmp_path / "recap.txt").write_text(f"Name: {RECAP}\nSubject: New\n\nNew words\n")
    assert seed(world_with_templates, tmp_path) == 1
    assert (find(world_with_templates, RECAP).number, find(world_with_templates, RECAP).body) == (2, "New words\n")


def test_an_edited_template_is_never_overwritten(world_with_templates: World, tmp_path: Path) -> None:
    edit(world_with_templates, RECAP, "Our own words")
    (tmp_path / "recap.txt").write_text(f"Name: {RECAP}\nSubject: New\n\nNew words\n")
    assert seed(world_with_templates, tmp_path) == 0
    assert find(world_with_templates, RECAP).body == "Our own words\n"


def test_each_edit_is_a_version_that_stays(world_with_templates: World) -> None:
    before = find(world_with_templates, RECAP)
    saved = edit(world_with_templates, RECAP, "Second words")
    assert (saved.number, saved.written_by) == (2, "max@billing.example")
    assert find(world_with_templates, RECAP, 1) == before
    with world_with_templates.database.read() as session:
        assert [one.number for one in message_templates.history(session, RECAP)] == [2, 1]


def test_unchanged_texts_add_no_version(world_with_templates: World) -> None:
    edit(world_with_templates, RECAP, "Words")
    assert edit(world_with_templates, RECAP, "Words").number == 2


def test_restored_version_becomes_a_new_version(world_with_templates: World) -> None:
    first = find(world_with_templates, RECAP)
    edit(world_with_templates, RECAP, "Worse words")
    restored = world_with_templates.database.transaction(lambda s: message_templates.restore(s, RECAP, 1, person(s, "Max"), NOW))
    assert (restored.number, restored.body) == (3, first.body)


def test_a_new_name_is_a_new_template(world_with_templates: World) -> None:
    assert edit(world_with_templates, "Refund on its way", "It is on its way.").number == 1
    assert find(world_with_templates, "refund ON its way").name == "Refund on its way"


def test_only_managers_change_templates(world_with_templates: World) -> None:
    with pytest.raises(RefusedError, match="only managers change templates"):
        edit(world_with_templates, RECAP, "Words", by="Ada")


def test_invalid_template_is_refused_and_unknown_one_not_found(world_with_templates: World) -> None:
    with pytest.raises(RefusedError, match="line 1"):
        edit(world_with_templates, RECAP, "{{ 'a' * 9 }}")
    for name, number in (("Nothing", None), (RECAP, 9)):
        with pytest.raises(NotFoundError, match="there is no"):
            find(world_with_templates, name, number)


def test_file_without_name_and_subject_lines_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "odd.txt").write_text("Hello\n\nWorld\n")
    with pytest.raises(ConfigurationError, match="begins with the lines"):
        message_templates.read_file(tmp_path / "odd.txt")
