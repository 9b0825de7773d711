"""The webhook and the backfill bring the same submissions; each is one item, in either order."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from core.settings.sections import Form
from ingest.sources.backfill import FormBackfill
from tests.servers.formstack import TOKEN, FormstackServer
from tests.waiting import scale_budget
from tests.web.conftest import FORM, KEY, Serve, Site
from tests.web.hooks.test_formstack import post, submission


@pytest.fixture
def server() -> Iterator[FormstackServer]:
    with FormstackServer() as running:
        yield running


@pytest.fixture
def listed_site(serve: Serve, server: FormstackServer) -> Site:
    """A server whose form has a backfill."""
    backfill = {"token": TOKEN, "base_url": server.url, "since": "2026-11-01"}
    return serve(forms={FORM: {"signature_keys": [KEY], "backfill": backfill}})


def run_backfill(site: Site) -> int:
    form: Form = site.settings.forms[FORM]
    return FormBackfill(FORM, form, site.database).run()


def test_submission_posted_before_or_after_backfill_is_one_item(listed_site: Site, server: FormstackServer) -> None:
    for number in (101, 102):
        server.submit(number, "2026-11-02 09:00:00")
    assert post(listed_site, submission(101, handshake=None)).status_code == 200
    assert run_backfill(listed_site) == 1
    assert post(listed_site, submission(102, handshake=None)).status_code == 200
    assert (run_backfill(listed_site), len(listed_site.items())) == (0, 2)


def test_posts_during_backfill_create_no_duplicates(listed_site: Site, server: FormstackServer) -> None:
    for number in range(150):
        server.submit(1000 + number, "2026-11-02 09:00:00")
    thread = threading.Thread(target=run_backfill, args=(listed_site,))
    thread.start()
    statuses = {post(listed_site, submission(1000 + number, handshake=None)).status_code for number in range(0, 150, 5)}
    thread.join(scale_budget(60))
    assert statuses == {200}
    assert sorted(item.identity for item in listed_site.items()) == [f"{FORM}/{1000 + number}" for number in range(150)]
