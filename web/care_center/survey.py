"""The pages of a survey: its form, and the page to unsubscribe from surveys.

The signed address is the only authentication. There is no session, so cross-site request forgery is impossible: a post needs
the link. A GET changes nothing, because mail scanners follow links (RFC 8058).
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
from surveys.answers import ANSWER, MAX_COMMENT_CHARS, SCORES, UNSUBSCRIBE, SurveyForm
from tickets.numbers import format_number
from web.pages import Pages
from web.request_body import MemoryBudget, read_body
from web.threadpool import run_in_thread

T = TypeVar("T")

#: The longest comment with every octet percent-encoded, and some space for the other fields.
MAX_BODY_BYTES = 64 * 1024
#: All survey posts together that are being read.
MAX_BUFFERED_BYTES = 4 * 1024 * 1024
_STATUSES = {"too_large": 413, "too_slow": 408, "overloaded": 503}
_PROBLEM_TEXTS = {
    "bad_score": "Please choose a score from 1 to 5.",
    "long_comment": f"Please shorten your comment to {MAX_COMMENT_CHARS} characters.",
}
_CLOSED_TEXT = "Thank you. We have your answer; it can no longer be changed. To add something, reply to our email."
_THANKS_TEXT = "Your answer has reached the people who worked on your case. You can still change it for a few days."
_CONFIRM_TEXT = "We will send you no more surveys. You will still receive emails about your cases."
_UNSUBSCRIBED_TEXT = "You will receive no more surveys. You will still receive emails about your cases."


class SurveyPages:
    """``/care/surveys/{signed}`` and ``/care/surveys/unsubscribe/{signed}``; every bad link gets the same 404."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._signer = Signer(settings.signing_keys(), settings.notices.domain)
        self._pages = Pages()
        self._budget = MemoryBudget(MAX_BUFFERED_BYTES)

    async def answer(self, request: Request) -> Response:
        """GET: show the form with the earlier answer, or with the score of the link in the mail. POST: store the answer."""
        survey_id = self._verify_link(request, ANSWER)
        if request.method == "POST":
            return await self._store_answer(request, survey_id)
        standing = await self._read(lambda session: answers.load_form(session, survey_id, self._settings.surveys, clock.now()))
        if standing.closed:
            return self._show_message("Your answer", _CLOSED_TEXT)
        linked_score = _parse_score(request.query_params.get("score", ""))
        return self._show_form(request, standing, linked_score or standing.score, standing.comment)

    async def unsubscribe(self, request: Request) -> Response:
        """GET: show a button. POST, from the button or from a mail program (RFC 8058 §3.2): unsubscribe from surveys."""
        survey_id = self._verify_link(request, UNSUBSCRIBE)
        if request.method == "POST":
            await self._read_form_body(request)
            await self._write(lambda session: answers.unsubscribe(session, survey_id, clock.now()))
            return self._show_message("No more surveys", _UNSUBSCRIBED_TEXT)
        await self._read(lambda session: answers.require_survey(session, survey_id))
        return self._show_message("No more surveys?", _CONFIRM_TEXT, button="No more surveys", action=request.url.path)

    async def _store_answer(self, request: Request, survey_id: int) -> Response:
        fields = parse_qs(await self._read_form_body(request), keep_blank_values=True, max_num_fields=20)
        score, comment = _parse_score(fields.get("score", [""])[0]), _clean_comment(fields.get("comment", [""])[0])
        surveys = self._settings.surveys
        try:
            await self._write(lambda session: answers.save_answer(session, survey_id, score or 0, comment, surveys, clock.now()))
        except RefusedError as refused:
            if refused.code == "closed":
                return self._show_message("Your answer", _CLOSED_TEXT)
            standing = await self._read(lambda session: answers.load_form(session, survey_id, surveys, clock.now()))
            return self._show_form(request, standing, score, comment, _PROBLEM_TEXTS[refused.code])
        return self._show_message("Thank you", _THANKS_TEXT, link=request.url.path)

    def _show_form(self, request: Request, standing: SurveyForm, score: int | None, comment: str, problem: str = "") -> Response:
        return self._pages.render(
            "survey.html", 422 if problem else 200, has_form=True, team=self._team, number=format_number(standing.ticket_id),
            scores=SCORES, score=score, comment=comment, max_comment_length=MAX_COMMENT_CHARS, action=request.url.path,
            problem=problem, is_answered=standing.score is not None,
        )  # fmt: skip

    def _show_message(self, title: str, sentence: str, *, link: str = "", button: str = "", action: str = "") -> Response:
        return self._pages.render(
            "survey_message.html", has_form=bool(button), team=self._team, title=title, sentence=sentence, link=link,
            button=button, action=action,
        )  # fmt: skip

    @property
    def _team(self) -> str:
        return self._settings.notices.sender_name

    def _verify_link(self, request: Request, purpose: str) -> int:
        survey_id = answers.read_link(self._signer, purpose, request.path_params["signed"])
        if survey_id is None:
            raise HTTPException(404)
        return survey_id

    async def _read_form_body(self, request: Request) -> str:
        try:
            with self._budget.reserve() as reservation:
                return (await read_body(request, reservation, MAX_BODY_BYTES)).decode("utf-8", "replace")
        except RefusedError as refused:
            raise HTTPException(_STATUSES.get(refused.code, 400)) from None

    async def _read(self, unit: Callable[[Session], T]) -> T:
        def read() -> T:
            with self._database.read() as session:
                return unit(session)

        return await self._run(read)

    async def _write(self, unit: Callable[[Session], T]) -> T:
        return await self._run(lambda: self._database.transaction(unit))

    async def _run(self, call: Callable[[], T]) -> T:
        try:
            return await run_in_thread(call, "survey")
        except NotFoundError:
            raise HTTPException(404) from None


def _parse_score(text: str) -> int | None:
    """Return the score that ``text`` names, None for anything else."""
    with suppress(ValueError):
        if text.isascii() and len(text) == 1 and int(text) in SCORES:
            return int(text)
    return None


def _clean_comment(text: str) -> str:
    """Return a comment with LF line ends, without control characters and without marks that change the text direction."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(c for c in lines if c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs")).strip()
