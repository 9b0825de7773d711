"""`casemill replay --since … --dry-run`, and `casemill notice`."""

from __future__ import annotations

from pathlib import Path

from cli import console
from tests.cli.support import run, write_mail


def test_replay_shows_what_changed_rules_would_do(workdir: Path) -> None:
    mail = write_mail(workdir / "a.eml", 1)
    mail.write_text("List-Id: <news.example>\n" + mail.read_text())
    assert run("ingest", "a.eml").code == 0
    same = run("replay", "--since", "2026-01-01", "--dry-run")
    assert (same.code, "no item would have another outcome" in same.out, "items checked: 1" in same.out) == (0, True, True)
    (workdir / "casemill.toml").write_text('[notices]\nown_addresses = ["dana1@oak.example"]\n')
    (line,) = run("replay", "--since", "2026-01-01", "--dry-run", "--json").lines
    assert (line["item"], line["was"], line["would_be"]) == (1, "list", "own")
    assert "own" in run("replay", "--since", "2026-01-01", "--dry-run").out


def test_replay_requires_dry_run(workdir: Path) -> None:
    assert run("replay", "--since", "2026-01-01").code == console.EXIT_USAGE


def test_notice_that_was_not_sent_is_listed_and_released(workdir: Path) -> None:
    run("staff", "add", "ada@billing.example", "--name", "Ada")
    run("contact", "block", "@oak.example", "--reason", "noise")
    write_mail(workdir / "a.eml", 1)
    run("ingest", "a.eml")
    (row,) = run("notice", "list", "--json", "--ticket", "BS-1").json
    assert (row["ticket"], row["reason_code"]) == ("BS-000001", "suppressed")
    assert "blocked" in run("notice", "list").out
    done = run("notice", "release", row["notice"], "--by", "ada@billing.example", "--reason", "Known by telephone")
    assert done.code == 0
    write_mail(workdir / "b.eml", 2)
    run("ingest", "b.eml")
    assert len(list((workdir / "var/sent/new").iterdir())) == 1
    assert run("notice", "release", row["notice"], "--by", "ada@billing.example", "--reason", "again").code == console.EXIT_USAGE
