"""`casemill ticket reply`, `casemill ticket recap` and `casemill templates`, on both databases."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.context import seed_message_templates
from core.database.session import Database
from tests.cli.support import CommandResult, run
from tests.tickets.staff_actions import settle_notice
from tests.tickets.world import World, dana_mail
from tickets.message_templates import RECAP

ADA, MAX = "ada@billing.example", "max@billing.example"


@pytest.fixture
def world(workdir_each_database: Path) -> Iterator[World]:
    """Ticket 1 from Dana, owned by Ada, in progress. Max is a manager. The templates are stored."""
    world = World(Database(os.environ["CASEMILL_DATABASE_URL"]))
    ada = world.staff("Ada")
    world.staff("Max", role="manager")
    world.company("Lakeside", "lakeside.example", consultant_id=ada)
    world.receive(dana_mail(missing=("the mail has no text",)))
    settle_notice(world)
    seed_message_templates(world.database)
    yield world
    world.database.close()


def ticket(*arguments: str) -> CommandResult:
    return run("ticket", *arguments, "--by", ADA)


def sent_texts(world: World) -> list[str]:
    return [entry["body"] for entry in world.show(1)["timeline"] if entry["kind"] == "message_out"]


def test_reply_is_sent_to_the_requester(world: World) -> None:
    ran = ticket("reply", "BS-000001", "--text", "It is paid.")
    assert (ran.code, ran.out) == (0, "BS-000001: queued for dana@lakeside.example\n")
    assert sent_texts(world) == ["It is paid.\n"]
    assert "    It is paid." in run("ticket", "show", "1").out


def test_preview_shows_the_message_and_sends_nothing(world: World) -> None:
    ran = ticket("recap", "1", "--resolution", "Paid in full.", "--preview")
    assert ran.code == 0
    for words in ("To:      dana@lakeside.example", "Subject: How we resolved Claim denied", "Paid in full."):
        assert words in ran.out
    assert sent_texts(world) == []


def test_preview_names_unfilled_placeholders(world: World) -> None:
    ran = ticket("recap", "1", "--preview")
    assert (ran.code, "Not ready: {{ resolution }} is not filled" in ran.out) == (1, True)


def test_message_with_unfilled_placeholders_is_refused(world: World) -> None:
    ran = ticket("recap", "1")
    assert ran.code == 2
    assert "not filled yet: {{ resolution }}" in " ".join(ran.err.split())
    assert sent_texts(world) == []


def test_recap_by_telephone_only_checks_the_box(world: World) -> None:
    assert ticket("recap", "1", "--by-phone").code == 0
    assert (sent_texts(world), world.show(1)["recap_sent"]["by"]) == ([], ADA)


def test_reply_can_ask_for_missing_information(world: World) -> None:
    assert ticket("reply", "1", "--ask-for-more").code == 0
    assert "- the mail has no text" in sent_texts(world)[0]


def test_template_is_filled_and_edited_before_it_is_sent(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    editor = tmp_path / "editor.py"
    editor.write_text("import sys, pathlib\np = pathlib.Path(sys.argv[1])\np.write_text(p.read_text() + 'PS: soon.\\n')\n")
    monkeypatch.setenv("VISUAL", f"{sys.executable} {editor}")
    fill = ("--fill", "payer=Acme", "--fill", "usual_time=a week")
    assert ticket("reply", "1", "--template", "Waiting for the Payer", *fill, "--edit").code == 0
    (text,) = sent_texts(world)
    assert "to Acme and are now waiting" in text
    assert text.endswith("PS: soon.\n")


def test_missing_editor_is_reported(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", "no-such-editor")
    ran = ticket("reply", "1")
    assert ran.code == 2
    assert "no-such-editor could not open the text" in " ".join(ran.err.split())


@pytest.mark.parametrize("pair", ["resolution", "two words=x", "=x"])
def test_fill_value_without_a_name_is_wrong_usage(world: World, pair: str) -> None:
    assert ticket("recap", "1", "--fill", pair).code == 2


def test_text_is_read_from_a_file_or_standard_input(world: World, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("From a file.")
    assert ticket("reply", "1", "--file", str(tmp_path / "text.txt")).code == 0
    assert run("ticket", "reply", "1", "--by", ADA, "--file", "-", stdin="From a pipe.").code == 0
    assert sent_texts(world) == ["From a file.\n", "From a pipe.\n"]


def test_templates_are_listed_shown_edited_and_restored(world: World, tmp_path: Path) -> None:
    assert RECAP in [one["name"] for one in run("templates", "list", "--json").json]
    assert "Billing Support" in run("templates", "list").out
    before = run("templates", "show", RECAP, "--json").json
    (tmp_path / "recap.txt").write_text("Hello {{ contact.name }},\n\n{{ resolution }}\n")
    assert run("templates", "edit", RECAP, "--file", str(tmp_path / "recap.txt"), "--by", MAX).out == f"{RECAP}: version 2\n"
    assert "{{ resolution }}" in run("templates", "show", RECAP).out
    assert [one["version"] for one in run("templates", "history", RECAP, "--json").json] == [2, 1]
    assert run("templates", "restore", RECAP, "--version", "1", "--by", MAX).out == f"{RECAP}: version 3\n"
    assert run("templates", "show", RECAP, "--json").json["body"] == before["body"]


def test_new_template_requires_the_option_and_a_manager(world: World, tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("It is on its way.")
    words = ("--subject", "Refund", "--file", str(tmp_path / "new.txt"))
    assert run("templates", "edit", "Refund", *words, "--by", MAX).code == 1, "there is none of that name"
    assert run("templates", "edit", "Refund", *words, "--new", "--by", ADA).code == 2, "only managers change templates"
    assert run("templates", "edit", "Refund", *words, "--new", "--by", MAX).out == "Refund: version 1\n"
