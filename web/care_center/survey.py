"""The survey's form and the page to unsubscribe. The signed address is the key; a GET changes nothing (RFC 8058).

There is no session, so nobody's browser can be made to answer for them: whoever posts must hold the link.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar
from urllib.parse import parse_qs

from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from core import clock
from core.database.session import Database
from core.errors import NotFoundError, RefusedError
from core.settings import Settings
from core.signing import Signer
from surveys import answers
from surveys.answers import ANSWER, COMMENT_MAX, SCORES, UNSUBSCRIBE, Standing
from tickets.numbers import format_number
from web.pages import Pages
from web.request_body import MemoryBudget, read_body
from web.threadpool import run_in_thread

T = TypeVar("T")

#: Every character of the longest comment as three escaped octets, and some more for the rest.
BODY_MAX = 64 * 1024
#: Bodies of all surveys together, while they are read.
HELD_MAX = 4 * 1024 * 1024
STATUS = {"too_large": 413, "too_slow": 408, "overloaded": 503}
PROBLEMS = {
    "bad_score": "Please choose a score from 1 to 5.",
    "long_comment": f"Please shorten your comment to {COMMENT_MAX} characters.",
}
CLOSED = "Thank you. Your answer has been kept, and it can no longer be changed. To add something, just reply to our mail."
THANKS = "Your answer has reached the people who worked on your case. You can change it for some days."
ASK = "We then send you no more surveys. Mail about your cases still reaches you."
DONE = "You get no more surveys. Mail about your cases still reaches you."


class SurveyPages:
    """``/care/surveys/{signed}`` and ``/care/surveys/unsubscribe/{signed}``; 404 for anything wrong, whatever is wrong."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._signer = Signer(settings.signing_keys(), settings.notices.domain)
        self._pages = Pages()
        self._room = MemoryBudget(HELD_MAX)

    async def answer(self, request: Request) -> Response:
        """GET: the form, prefilled with the answer given before or with the score of the mail's link. POST: store it."""
        survey_id = self._survey(request, ANSWER)
        if request.method == "POST":
            return await self._answer(request, survey_id)
        standing = await self._read(lambda session: answers.look(session, survey_id, self._settings.surveys, clock.now()))
        if standing.closed:
            return self._say("Your answer", CLOSED)
        wanted = _score(request.query_params.get("score", ""))
        return self._ask(request, standing, wanted or standing.score, standing.comment)

    async def unsubscribe(self, request: Request) -> Response:
        """GET: a button. POST, by the button or by a mail program's one click (RFC 8058 §3.2): no more surveys."""
        survey_id = self._survey(request, UNSUBSCRIBE)
        if request.method == "POST":
            await self._body(request)
            await self._write(lambda session: answers.unsubscribe(session, survey_id, clock.now()))
            return self._say("No more surveys", DONE)
        await self._read(lambda session: answers.require(session, survey_id))
        return self._say("No more surveys?", ASK, button="No more surveys", action=request.url.path)

    async def _answer(self, request: Request, survey_id: int) -> Response:
        fields = parse_qs(await self._body(request), keep_blank_values=True, max_num_fields=20)
        score, comment = _score(fields.get("score", [""])[0]), _clean(fields.get("comment", [""])[0])
        surveys = self._settings.surveys
        try:
            await self._write(lambda session: answers.answer(session, survey_id, score or 0, comment, surveys, clock.now()))
        except RefusedError as refused:
            if refused.code == "closed":
                return self._say("Your answer", CLOSED)
            standing = await self._read(lambda session: answers.look(session, survey_id, surveys, clock.now()))
            return self._ask(request, standing, score, comment, PROBLEMS[refused.code])
        return self._say("Thank you", THANKS, link=request.url.path)

    def _ask(self, request: Request, standing: Standing, score: int | None, comment: str, problem: str = "") -> Response:
        return self._pages.render(
            "survey.html", 422 if problem else 200, has_form=True, team=self._team, number=format_number(standing.ticket_id),
            scores=SCORES, score=score, comment=comment, longest=COMMENT_MAX, action=request.url.path, problem=problem,
            answered=standing.score is not None,
        )  # fmt: skip

    def _say(self, title: str, sentence: str, *, link: str = "", button: str = "", action: str = "") -> Response:
        return self._pages.render(
            "survey_said.html", has_form=bool(button), team=self._team, title=title, sentence=sentence, link=link,
            button=button, action=action,
        )  # fmt: skip

    @property
    def _team(self) -> str:
        return self._settings.notices.sender_name

    def _survey(self, request: Request, purpose: str) -> int:
        survey_id = answers.read_link(self._signer, purpose, request.path_params["signed"])
        if survey_id is None:
            raise HTTPException(404)
        return survey_id

    async def _body(self, request: Request) -> str:
        try:
            with self._room.reserve() as hold:
                return (await read_body(request, hold, BODY_MAX)).decode("utf-8", "replace")
        except RefusedError as refused:
            raise HTTPException(STATUS.get(refused.code, 400)) from None

    async def _read(self, unit: Callable[[Session], T]) -> T:
        def read() -> T:
            with self._database.read() as session:
                return unit(session)

        return await self._found(read)

    async def _write(self, unit: Callable[[Session], T]) -> T:
        return await self._found(lambda: self._database.transaction(unit))

    async def _found(self, call: Callable[[], T]) -> T:
        try:
            return await run_in_thread(call, "survey")
        except NotFoundError:
            raise HTTPException(404) from None


def _score(text: str) -> int | None:
    """The score that a text names, None for anything else."""
    with suppress(ValueError):
        if text.isascii() and len(text) == 1 and int(text) in SCORES:
            return int(text)
    return None


def _clean(text: str) -> str:
    """A comment with LF line ends, and without characters that control a terminal or turn the reading direction."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(c for c in lines if c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs")).strip()
