"""Convert HTML to text and to sanitised HTML within limits: both libraries misbehave on deeply nested pages."""

from __future__ import annotations

import re
from html import unescape

import nh3
from inscriptis import get_text
from inscriptis.css_profiles import CSS_PROFILES
from inscriptis.model.config import ParserConfig

#: Characters of HTML that a library may process: nh3 and inscriptis take quadratic time on nested elements.
MAX_HTML_LENGTH = 512_000
#: Elements open at one time.
MAX_OPEN_ELEMENTS = 1_000
#: Elements reopened in total: HTML parsers reopen the open formatting elements in every later block (HTML, §13.2.4.3).
MAX_REOPENED_ELEMENTS = 200_000
MAX_STRIPPED_LENGTH = 2_000_000

_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]{0,20})")
_ANY_TAG = re.compile(r"<!--|<[!?/]?[a-zA-Z][^<>]*>")
_SPACES = re.compile(r"[ \t\r\f\v\u00a0]+")
_BLANKS = re.compile(r"\n{3,}")


def _split(names: str) -> frozenset[str]:
    return frozenset(names.split())


# Elements without an end tag, or with an end tag that is omitted too often for a useful count.
# A new `a` or `nobr` closes the previous one.
_UNCOUNTED_ELEMENTS = _split(
    "a area base br col embed hr img input link meta param source track wbr p li td tr th tbody thead tfoot dt dd"
    " nobr option html body head"
)
_FORMATTING_ELEMENTS = _split("b big code em font i s small strike strong tt u")
_HIDDEN_ELEMENTS = frozenset({"script", "style", "head", "title", "template", "noscript"})
_BLOCK_ELEMENTS = _split(
    "address blockquote br dd div dl dt fieldset footer form h1 h2 h3 h4 h5 h6 header hr li main ol p pre section table tr ul"
)
_ALLOWED_TAGS = _split(
    "a abbr b big blockquote br caption cite code col colgroup dd del div dl dt em font h1 h2 h3 h4 h5 h6 hr i img"
    " ins kbd li ol p pre q s samp small span strike strong sub sup table tbody td tfoot th thead tr tt u ul"
    " var"
)
_ALLOWED_ATTRIBUTES = {
    "*": {"dir", "lang", "title", "align", "valign"},
    "a": {"href"},
    "font": {"color", "face", "size"},
    "img": {"src", "alt", "width", "height"},
    "ol": {"start", "type"},
    "table": {"border", "cellpadding", "cellspacing", "width"},
    "td": {"colspan", "rowspan", "width"},
    "th": {"colspan", "rowspan", "width", "scope"},
}
_INSCRIPTIS = ParserConfig(css=CSS_PROFILES["strict"])


def is_within_limits(html: str) -> bool:
    """Whether a library may process this page: size, elements open at once, formatting elements to reopen."""
    if len(html) > MAX_HTML_LENGTH:
        return False
    opened = formatting = reopened = 0
    for match in _TAG.finditer(html):
        name = match.group(2).lower()
        reopened += formatting
        if reopened > MAX_REOPENED_ELEMENTS:
            return False
        if name in _UNCOUNTED_ELEMENTS:
            continue
        step = -1 if match.group(1) else 1
        opened = max(opened + step, 0)
        if name in _FORMATTING_ELEMENTS:
            formatting = max(formatting + step, 0)
        if opened > MAX_OPEN_ELEMENTS:
            return False
    return True


def html_to_text(html: str) -> tuple[str, str | None]:
    """Return the text of a page, and the note ``html_stripped`` when its layout had to be dropped.

    Never raises except MemoryError.
    """
    if is_within_limits(html):
        try:
            text = get_text(html, _INSCRIPTIS)
        except MemoryError:
            # The process reached its memory limit: a retry may succeed.
            raise
        except Exception:
            # lxml and inscriptis reject some pages with various exceptions; the tags can still be stripped.
            text = ""
        if text.strip():
            return _tidy(text), None
    stripped = strip_tags(html)
    return stripped, "html_stripped" if stripped else None


class _EndFinder:
    """Finds end tags and comment ends. An absent end is searched once, which keeps the work linear."""

    def __init__(self, html: str) -> None:
        self.html = html
        self.absent: set[str] = set()

    def find_after(self, ending: str, position: int) -> int:
        """Return the offset after ``ending``. Without an ending the rest is text: a missing end tag must hide nothing."""
        if ending not in self.absent:
            match = re.compile(re.escape(ending) + ("" if ending == "-->" else "[^<>]*>?"), re.I).search(self.html, position)
            if match is not None:
                return match.end()
            self.absent.add(ending)
        return position


def strip_tags(html: str) -> str:
    """Return the text between the tags without scripts and styles. Linear; reads at most MAX_STRIPPED_LENGTH characters."""
    html = html[:MAX_STRIPPED_LENGTH]
    out: list[str] = []
    position = 0
    finder = _EndFinder(html)
    while (match := _ANY_TAG.search(html, position)) is not None:
        out.append(html[position : match.start()])
        position = match.end()
        if match.group() == "<!--":
            position = finder.find_after("-->", position)
            continue
        name = match.group().strip("</!?>").split(None, 1)[0].rstrip("/").lower()
        if name in _HIDDEN_ELEMENTS and not match.group().startswith("</"):
            position = finder.find_after(f"</{name}", position)
        elif name in _BLOCK_ELEMENTS:
            out.append("\n")
    out.append(html[position:])
    return _tidy(_SPACES.sub(" ", unescape("".join(out))))


def _tidy(text: str) -> str:
    lines = "\n".join(line.rstrip() for line in text.replace("\u00a0", " ").splitlines())
    return _BLANKS.sub("\n\n", lines).strip("\n")


def _filter_attribute(element: str, attribute: str, value: str) -> str | None:
    """Keep only images that came with the mail (RFC 2392 ``cid:``): nothing remote is loaded."""
    if element == "img" and attribute == "src":
        return value if value.lower().startswith("cid:") else None
    return value


def sanitise_html(html: str) -> str:
    """Return HTML that is safe in a sandboxed frame (security.md, rule 4). Over the limits: the plain text, escaped.

    Styles, forms, SVG and remote images are removed; links keep http, https, mailto and tel.
    """
    if not is_within_limits(html):
        return "<pre>" + nh3.clean_text(strip_tags(html)) + "</pre>"
    return nh3.clean(
        html,
        tags=set(_ALLOWED_TAGS),
        attributes=_ALLOWED_ATTRIBUTES,
        attribute_filter=_filter_attribute,
        url_schemes={"http", "https", "mailto", "tel", "cid"},
        clean_content_tags={"script", "style", "svg", "math", "form", "template", "title"},
        strip_comments=True,
        link_rel="noopener noreferrer nofollow",
    )
