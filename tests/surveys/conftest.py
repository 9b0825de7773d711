"""A sample world on an empty database, on SQLite and on PostgreSQL."""

from collections.abc import Iterator

import pytest

import ingest.ledger.models  # noqa: F401 - all tables are to be known
import notify.models  # noqa: F401
from tests.surveys.survey_world import SurveyWorld, make_survey_world


@pytest.fixture
def survey_world(database_url: str) -> Iterator[SurveyWorld]:
    survey_world = make_survey_world(database_url)
    yield survey_world
    survey_world.database.close()
