"""The renderer, and the texts of the mailings."""

import re
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from notify.mailing_types import list_staff_written
from notify.render import MissingVariableError, Renderer, RenderError, UnknownMailingError, format_datetime, one_line

TEMPLATES = Path(__file__).parents[2] / "templates" / "email"
CONTEXTS: dict[str, dict[str, object]] = {
    "ticket_created": {
        "number": "BS-000123",
        "received_at": datetime(2026, 11, 22, 14, 14, tzinfo=UTC),
        "link": "https://care.example/care/cases/123?a=1&b=2",
        "team_name": "Billing Support",
    },
    "ticket_assigned": {
        "number": "BS-000123",
        "source": "secure message",
        "company_name": "Lakeside <b>Family</b> & Partners",
        "reason": "You are the operations consultant of Lakeside Family Practice.",
        "link": "https://desk.example/desk/tickets/123?a=1&b=2",
        "team_name": "Billing Support",
    },
    **{
        mailing: {
            "number": "BS-000123",
            "company_name": "Lakeside <b>Family</b> & Partners",
            "opened_at": datetime(2026, 11, 20, 14, 14, tzinfo=UTC),
            "owner_name": "Mara <b>Lind</b>",
            "link": "https://desk.example/desk/tickets/123?a=1&b=2",
            "team_name": "Billing Support",
        }
        for mailing in ("escalation", "follow_up_reminder")
    },
    "survey_invitation": {
        "number": "BS-000123",
        "link": "https://care.example/care/surveys/s1.abc",
        "unsubscribe_link": "https://care.example/care/surveys/unsubscribe/u1.def",
        "team_name": "Billing Support",
    },
    "survey_answered": {
        "number": "BS-000123",
        "company_name": "Lakeside <b>Family</b> & Partners",
        "score": 2,
        "before": 4,
        "is_low": True,
        "has_comment": True,
        "link": "https://desk.example/desk/tickets/123?a=1&b=2",
        "team_name": "Billing Support",
    },
}
RENDERER = Renderer(TEMPLATES, zone=ZoneInfo("America/New_York"))
MAILINGS = sorted(CONTEXTS)


class Page(HTMLParser):
    """The text and the links of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str | None] = []
        self.text = ""
        self.sources: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "a":
            self.links.append(values.get("href"))
        self.sources += [tag for name in ("src", "background", "srcset") if name in values]

    def handle_data(self, data: str) -> None:
        self.text += data


def small_mailing(folder: Path, **files: str) -> Renderer:
    (folder / "hello").mkdir(exist_ok=True)
    parts = {"subject.txt": "Hi", "body.txt": "Text", "body.html": "<p>Page</p>"} | {
        name.replace("_", "."): text for name, text in files.items()
    }
    for name, text in parts.items():
        (folder / "hello" / name).write_text(text)
    return Renderer(folder)


# The mailings


def test_every_template_folder_is_tested_here() -> None:
    folders = {path.name for path in TEMPLATES.iterdir() if path.is_dir() and path.name != "_base"}
    assert folders >= set(MAILINGS)
    # test_digests.py tests the digest, test_staff_messages.py the staff messages.
    assert {folder for folder in folders if (TEMPLATES / folder / "body.txt").exists()} == {
        *MAILINGS,
        "digest",
        *list_staff_written(),
    }


@pytest.mark.parametrize("mailing", MAILINGS)
def test_text_and_html_both_show_every_value(mailing: str) -> None:
    context = CONTEXTS[mailing]
    rendered = RENDERER.render(mailing, context)
    page = Page(rendered.html)
    values = {name: value for name, value in context.items() if not isinstance(value, bool)}
    for name, value in values.items():
        shown = format_datetime(value, ZoneInfo("America/New_York")) if isinstance(value, datetime) else str(value)
        assert shown in " ".join(rendered.text.split()), name
        assert shown in page.text or shown in page.links, name
    links = {str(link).partition("?score=")[0] for link in page.links}
    assert links == {value for name, value in context.items() if name.endswith("link")}


@pytest.mark.parametrize("mailing", MAILINGS)
def test_subject_has_ticket_number_and_no_company(mailing: str) -> None:
    subject = RENDERER.render(mailing, CONTEXTS[mailing]).subject
    assert subject.endswith(" [BS-000123]")
    assert "Lakeside" not in subject
    assert len(subject) < 60


@pytest.mark.parametrize("mailing", MAILINGS)
def test_html_loads_and_runs_nothing(mailing: str) -> None:
    html = RENDERER.render(mailing, CONTEXTS[mailing]).html
    assert Page(html).sources == []
    assert not re.search(r"<(script|img|link|iframe|form|base)\b|url\(|@import|javascript:", html, re.IGNORECASE)


@pytest.mark.parametrize("mailing", MAILINGS)
def test_styles_are_inlined_except_rules_for_narrow_screens(mailing: str) -> None:
    html = RENDERER.render(mailing, CONTEXTS[mailing]).html
    (sheet,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert sheet.lstrip().startswith("@media")
    classes = re.findall(r"<[^>]* class=[^>]*>", html)
    assert len(classes) > 10
    assert all("style=" in tag for tag in classes)


@pytest.mark.parametrize("mailing", MAILINGS)
def test_text_part_has_short_lines_and_no_markup(mailing: str) -> None:
    text = RENDERER.render(mailing, CONTEXTS[mailing]).text
    assert all(len(line) <= 76 for line in text.splitlines() if "https://" not in line)
    assert not re.search(r"[{}<>]|&amp;|\n\n\n\n| \n", re.sub("<b>(Family|Lind)</b>", r"\1", text))


@pytest.mark.parametrize("mailing", MAILINGS)
def test_error_names_missing_variable_and_no_value(mailing: str) -> None:
    for variable in CONTEXTS[mailing]:
        context = {name: value for name, value in CONTEXTS[mailing].items() if name != variable}
        with pytest.raises(MissingVariableError) as caught:
            RENDERER.render(mailing, context)
        assert (caught.value.mailing, caught.value.variable) == (mailing, variable)
        assert "Lakeside" not in str(caught.value)
        assert "care.example" not in str(caught.value)


@pytest.mark.parametrize("mailing", MAILINGS)
def test_comment_of_each_mailing_lists_its_variables(mailing: str) -> None:
    source = (TEMPLATES / mailing / "body.txt").read_text()
    comment = source[: source.index("#}")]
    assert set(re.findall(r"^  ([a-z_]+)  ", comment, re.MULTILINE)) == set(CONTEXTS[mailing])


def test_links_of_survey_invitation_prefill_each_score() -> None:
    page = Page(RENDERER.render("survey_invitation", CONTEXTS["survey_invitation"]).html)
    scored = [f"https://care.example/care/surveys/s1.abc?score={score}" for score in range(1, 6)]
    assert page.links[:5] == scored


@pytest.mark.parametrize(("is_low", "subject"), [(True, "Low score: 2 of 5"), (False, "2 of 5")])
def test_low_score_is_marked_in_subject_text_and_html(is_low: bool, subject: str) -> None:
    rendered = RENDERER.render("survey_answered", CONTEXTS["survey_answered"] | {"is_low": is_low})
    assert rendered.subject == f"{subject} in the survey [BS-000123]"
    assert ("what went wrong" in rendered.text) == ("what went wrong" in rendered.html) == is_low


def test_ticket_without_company_shows_not_known_yet() -> None:
    rendered = RENDERER.render("ticket_assigned", CONTEXTS["ticket_assigned"] | {"company_name": ""})
    assert "not known yet" in rendered.text
    assert "not known yet" in rendered.html


# The renderer


def test_values_are_escaped_in_html_and_unchanged_in_text() -> None:
    rendered = RENDERER.render("ticket_assigned", CONTEXTS["ticket_assigned"])
    assert "Lakeside &lt;b&gt;Family&lt;/b&gt; &amp; Partners" in rendered.html
    assert "Lakeside <b>Family</b> & Partners" in rendered.text


def test_value_cannot_break_out_of_link() -> None:
    context = CONTEXTS["ticket_created"] | {"link": 'https://care.example/"onclick="x'}
    assert set(Page(RENDERER.render("ticket_created", context).html).links) == {'https://care.example/"onclick="x'}


def test_subject_is_one_line_without_control_characters(tmp_path: Path) -> None:
    renderer = small_mailing(tmp_path, subject_txt="\n  Hi {{ name }}\n")
    subject = renderer.render("hello", {"name": "a\r\nBcc: x@y.example\0\x85\u2028b\tc"}).subject
    assert subject == "Hi a Bcc: x@y.exampleb c"


def test_control_characters_are_removed_from_text_and_html(tmp_path: Path) -> None:
    renderer = small_mailing(tmp_path, body_txt="{{ name }}", body_html="<p title='{{ name }}'>{{ name }}</p>")
    rendered = renderer.render("hello", {"name": "a\0\x1b\x85\u2028b"})
    assert rendered.text == "ab\n"
    assert '<p title="ab">ab</p>' in rendered.html


@pytest.mark.parametrize("mailing", ["nothing", "_base", "../ticket_created", "ticket_created/", "", "Hello", "a\0b"])
def test_unknown_mailing_is_refused(mailing: str) -> None:
    with pytest.raises(UnknownMailingError):
        RENDERER.render(mailing, {})


def test_error_names_missing_template_file(tmp_path: Path) -> None:
    renderer = small_mailing(tmp_path)
    (tmp_path / "hello" / "body.txt").unlink()
    with pytest.raises(UnknownMailingError, match=re.escape("hello/body.txt")) as caught:
        renderer.render("hello", {})
    assert caught.value.hint


def test_error_names_missing_attribute(tmp_path: Path) -> None:
    renderer = small_mailing(tmp_path, body_txt="{{ ticket.owner }}")
    with pytest.raises(MissingVariableError) as caught:
        renderer.render("hello", {"ticket": {"secret": "canary"}})
    assert caught.value.variable == "owner"


def test_failing_template_error_names_mailing_and_no_value(tmp_path: Path) -> None:
    renderer = small_mailing(tmp_path, body_txt="{{ name + 1 }}")
    with pytest.raises(RenderError, match=r"mailing hello: .*TypeError") as caught:
        renderer.render("hello", {"name": "canary"})
    assert "canary" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_compile_error_names_mailing(tmp_path: Path) -> None:
    with pytest.raises(RenderError, match="mailing hello: a template cannot be compiled"):
        small_mailing(tmp_path, body_txt="{% if %}").render("hello", {})


def test_templates_are_compiled_once(tmp_path: Path) -> None:
    renderer = small_mailing(tmp_path)
    first = renderer.render("hello", {})
    small_mailing(tmp_path, body_txt="Changed")
    assert renderer.render("hello", {}) == first
    assert Renderer(tmp_path).render("hello", {}).text == "Changed\n"


@pytest.mark.parametrize(("hour", "shown"), [(5, "12:07 AM"), (17, "12:07 PM"), (18, "1:07 PM")])
def test_datetime_is_formatted_in_configured_zone(hour: int, shown: str) -> None:
    moment = datetime(2026, 11, 5, hour, 7, tzinfo=UTC).astimezone(timezone(timedelta(hours=9)))
    assert format_datetime(moment, ZoneInfo("America/New_York")) == f"Thursday, November 5, 2026 at {shown} EST"


def test_naive_datetime_is_render_error() -> None:
    with pytest.raises(RenderError, match="ValueError"):
        RENDERER.render("ticket_created", CONTEXTS["ticket_created"] | {"received_at": datetime(2026, 11, 5)})  # noqa: DTZ001


def test_one_line_joins_lines_and_drops_controls() -> None:
    assert one_line(" a\r\n\tb\x00c\x9fd ") == "a b c d"
