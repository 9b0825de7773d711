"""Files named on the command line: how they are found, read and accepted."""

from pathlib import Path

import pytest

from core.errors import RefusedError
from core.reasons import Reason
from core.settings import Settings
from ingest.ledger.types import Arrival
from ingest.sources.upload import Uploader, choose_source, find_files, read_file
from tests.ingest.sources.support import LIMITS, items, make_tables, message, sightings


def ignore_progress(_done: int, _total: int) -> None:
    """Discard the progress."""


@pytest.mark.parametrize(
    ("name", "content", "suffix"),
    [
        ("a.eml", b"", ".eml"),
        ("a.EML", b"", ".eml"),
        ("mail", message(1), ".eml"),
        ("mail.txt", message(1), ".eml"),
        ("mails", b"From a@b.example Sun Nov 22 04:00:00 2026\n" + message(1), ".mbox"),
        ("export", b"PK\x03\x04", ".xlsx"),
        ("slides.pptx", b"PK\x03\x04", ".pptx"),
        ("form", b' {"FormID": "1"}', ".json"),
        ("missing", None, ".eml"),
    ],
)
def test_named_file_is_read_by_its_kind(tmp_path: Path, name: str, content: bytes | None, suffix: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert [file.suffix for file in find_files([tmp_path / name]).files] == [suffix]


def test_folder_is_read_in_order_without_receipts_and_other_files(tmp_path: Path) -> None:
    for name in ("b.eml", "a.json", ".hidden.eml", "~$w.xlsx", "w.receipt.xlsx", "w.receipt-2.xlsx", "README.md", "deep/c.mbox"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = find_files([tmp_path])
    assert [file.path.name for file in found.files] == ["a.json", "b.eml", "c.mbox"]
    assert found.skipped == 1


def test_folders_of_a_maildir_are_read(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / ".Archive"):
        for name in ("cur", "new", "tmp"):
            (folder / name).mkdir(parents=True)
            (folder / name / f"170.{name}").write_bytes(message(1))
    found = find_files([tmp_path])
    assert [file.path.name for file in found.files] == ["170.cur", "170.new"] * 2


def test_arrivals_record_their_origin_and_the_source_whose_rules_apply(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_bytes(message(1))
    (file,) = find_files([tmp_path / "a.eml"]).files
    (one,) = read_file(file, "mailbox:support", {"mailbox": "support"}, LIMITS)
    assert isinstance(one, Arrival)
    assert (one.source, one.extra) == ("mailbox:support", {"mailbox": "support", "file": "a.eml"})
    assert one.place.startswith("a.eml:")


def test_unreadable_file_gives_a_reason_and_no_exception(tmp_path: Path) -> None:
    (tmp_path / "empty.eml").touch()
    reasons = [
        one.code
        for file in find_files([tmp_path / "empty.eml", tmp_path / "missing.eml", Path("/dev/null")]).files
        for one in read_file(file, "upload", {}, LIMITS)
        if isinstance(one, Reason)
    ]
    assert reasons == ["empty_file", "missing_file", "not_a_file"]


def test_repeated_files_are_accepted_once(tmp_path: Path, database_url: str) -> None:
    database = make_tables(database_url)
    for number in range(250):
        (tmp_path / f"{number:03}.eml").write_bytes(message(number))
    (tmp_path / "copy-of-7.eml").write_bytes(message(7))
    (tmp_path / "empty.eml").touch()
    files = find_files([tmp_path]).files
    first = Uploader(database, LIMITS, "upload", {}).accept(files, ignore_progress)
    again = Uploader(database, LIMITS, "upload", {}).accept(files, ignore_progress)
    assert len(items(database)) == 250
    assert len(sightings(database)) == 251
    assert [one.path.name for one in first if one.refusal] == ["empty.eml"]
    assert sum(one.is_known for one in first) == 1
    assert [one.item_id for one in first] == [one.item_id for one in again]
    assert all(one.is_known for one in again if one.item_id)
    database.close()


@pytest.mark.parametrize(
    ("name", "expected"),
    [(None, "upload"), ("desk", "mailbox:desk"), ("drop", "folder:drop"), ("551", "form:551"), ("folder:both", "folder:both")],
)
def test_source_is_chosen_by_its_name(name: str | None, expected: str) -> None:
    assert choose_source(SETTINGS, name)[0] == expected


@pytest.mark.parametrize("name", ["unknown", "both", ""])
def test_name_of_no_or_several_sources_is_refused(name: str) -> None:
    with pytest.raises(RefusedError) as refused:
        choose_source(SETTINGS, name)
    assert "folder:both" in refused.value.hint


BOX = {"host": "localhost", "user": "u", "password": "p"}
SETTINGS = Settings.model_validate(
    {
        "mailboxes": {"desk": BOX, "both": BOX},
        "folders": {"drop": {"path": "drop"}, "both": {"path": "both"}},
        "forms": {"551": {"unsigned": True}},
    }
)
