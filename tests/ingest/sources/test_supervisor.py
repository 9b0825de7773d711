"""Starting, restarting and stopping the configured watchers."""

import logging
import threading
from pathlib import Path

import pytest

from core.database.session import Database
from core.settings import Settings
from core.settings.sections import Folder
from ingest.sources.supervisor import join_watchers, run_watcher, start_watchers
from tests.ingest.sources.support import cursor, items, last_uid, mailbox, message
from tests.servers.dovecot import DovecotServer
from tests.servers.ports import free_port
from tests.waiting import scale_budget, wait_until


def receipt(item_id: int, *, repeated: bool = False) -> bytes:
    return b"receipt"


def test_every_source_has_a_thread_and_an_unreachable_one_stops_no_other(
    either_database: Database, desk: DovecotServer, tmp_path: Path
) -> None:
    desk.add_user("sales")
    settings = Settings(
        mailboxes={"desk": mailbox(desk), "sales": mailbox(desk, "sales"), "down": mailbox(desk, port=free_port())},
        folders={"scans": Folder(path=tmp_path / "scans", settle_seconds=0, poll_seconds=0.1)},
    )
    stop = threading.Event()
    threads = start_watchers(settings, either_database, stop, receipt)
    assert sorted(thread.name for thread in threads) == ["folder:scans", "mailbox:desk", "mailbox:down", "mailbox:sales"]
    desk.deliver("desk", message(1))
    desk.deliver("sales", message(2))
    wait_until(lambda: (tmp_path / "scans" / "done").is_dir())
    (tmp_path / "scans" / "a.eml").write_bytes(message(3))
    wait_until(lambda: len(items(either_database)) == 3)
    assert {item.source for item in items(either_database)} == {"mailbox:desk", "mailbox:sales", "folder:scans"}
    wait_until(lambda: (row := cursor(either_database, "down")) is not None and row.errors > 0)
    assert (last_uid(either_database, "desk"), last_uid(either_database, "sales")) == (1, 1)
    stop.set()
    assert join_watchers(threads, 10) == []


class CrashingWatcher:
    """A watcher that crashes twice and then works until it is stopped."""

    runs: list[int] = []

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop

    def run(self) -> None:
        self.runs.append(len(self.runs))
        if len(self.runs) <= 2:
            raise KeyError("the text of a customer's message")
        self.stop.wait()


def test_crashed_watcher_is_restarted_and_only_the_type_of_its_error_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=run_watcher, args=("mailbox:desk", lambda: CrashingWatcher(stop), stop), daemon=True)
    with caplog.at_level(logging.INFO, "casemill.sources"):
        thread.start()
        wait_until(lambda: len(CrashingWatcher.runs) == 3)
    stop.set()
    thread.join(scale_budget(5))
    assert not thread.is_alive()
    assert [getattr(record, "error", None) for record in caplog.records] == ["KeyError", "KeyError"]
    assert "customer" not in caplog.text


def test_join_returns_the_names_of_threads_that_still_run() -> None:
    stop = threading.Event()
    slow = threading.Thread(target=stop.wait, name="folder:slow", daemon=True)
    slow.start()
    assert join_watchers([slow], 0.1) == ["folder:slow"]
    stop.set()
    assert join_watchers([slow], 5) == []
