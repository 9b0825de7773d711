"""Write the workbooks of this folder again: ``python -m tests.corpus.workbooks.build``.

openpyxl makes the ordinary ones; the unusual ones are assembled part by part. ``expected.json``, written by hand, holds the
expected result of each.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from msoffcrypto.format.ooxml import OOXMLFile
from openpyxl import Workbook

FOLDER = Path(__file__).parent
PASSWORD = "open sesame"
HEADERS = ("Message ID", "Sent Date", "Practice", "Account #", "Sender", "E-mail Address", "Subject", "Message")
MAIN_NS = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS_NS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE_NS = "http://schemas.openxmlformats.org/package/2006"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"
XLSM = "application/vnd.ms-excel.sheet.macroEnabled.main+xml"
DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'


def zip_parts(parts: Mapping[str, bytes]) -> bytes:
    """Return a package with these parts. The bytes are the same each time."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            info = zipfile.ZipInfo(name, (2026, 11, 20, 9, 30, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return packed.getvalue()


def make_parts(sheet: str, kind: str = XLSX, **further: bytes) -> dict[str, bytes]:
    """Return the parts of a workbook with one sheet; ``sheet`` is the content of its worksheet element."""
    types = (
        f'{DECLARATION}<Types xmlns="{PACKAGE_NS}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kind}"/></Types>'
    )
    book = (
        f'{DECLARATION}<workbook xmlns="{MAIN_NS}" xmlns:r="{RELATIONS_NS}"><sheets>'
        '<sheet name="Messages" sheetId="1" r:id="rId1"/></sheets></workbook>'
    )
    relations = (
        f'{DECLARATION}<Relationships xmlns="{PACKAGE_NS}/relationships"><Relationship Id="rId1" '
        f'Type="{RELATIONS_NS}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>'
    )
    return {
        "[Content_Types].xml": types.encode(),
        "xl/workbook.xml": book.encode(),
        "xl/_rels/workbook.xml.rels": relations.encode(),
        "xl/worksheets/sheet1.xml": f'{DECLARATION}<worksheet xmlns="{MAIN_NS}">{sheet}</worksheet>'.encode(),
        **further,
    }


def make_cell(reference: str, text: str) -> str:
    return f'<c r="{reference}" t="inlineStr"><is><t>{text}</t></is></c>'


def make_row(number: int, *texts: str) -> str:
    return f'<row r="{number}">' + "".join(make_cell(f"{'ABC'[at]}{number}", t) for at, t in enumerate(texts)) + "</row>"


TWO_ROWS = make_row(1, "Subject", "Message", "Sender") + make_row(2, "Claim 7", "Where is it?", "Dana Ortiz")
DATA = f"<sheetData>{TWO_ROWS}</sheetData>"


def save(book: Workbook) -> bytes:
    saved = io.BytesIO()
    book.save(saved)
    return saved.getvalue()


def make_book(*rows: Sequence[object], title: str = "Messages") -> Workbook:
    book = Workbook()
    book.active.title = title
    for row in rows:
        book.active.append(row)
    return book


def make_message(number: int, message: str = "Please look into this claim.") -> tuple[object, ...]:
    sent = datetime(2026, 11, 20, 9, 30 + number)  # noqa: DTZ001 - a spreadsheet has no time zone
    email = f"dana{number}@riverside.example"
    return (f"M-{number}", sent, "Riverside Clinic", "00042", "Dana Ortiz", email, f"Claim {number}", message)


def build_plain() -> bytes:
    return save(make_book(HEADERS, make_message(1), make_message(2, "Second.\nWith two lines.")))


def build_kinds_of_cells() -> bytes:
    book = make_book(("Subject", "Message", "Sent", "Acct", "Whole", "Part", "Yes", "Day", "Time", "Error"))
    book.active.append(
        ("S", " padded text ", datetime(2026, 11, 20, 14, 5, 6), 42, 17.0, 0.1, True,  # noqa: DTZ001
         datetime(2026, 11, 20), datetime(2026, 11, 20, 8, 15).time(), "#N/A")  # noqa: DTZ001
    )  # fmt: skip
    book.active["D2"].number_format = "00000"
    return save(book)


def build_header_in_row_5() -> bytes:
    return save(make_book(("Riverside export",), (), ("Printed on", "2026-11-20"), (), HEADERS, make_message(1)))


def build_hidden_sheets() -> bytes:
    book = make_book(HEADERS, make_message(1))
    for title, state in (("Secret", "hidden"), ("Deep", "veryHidden"), ("Legend", "visible")):
        sheet = book.create_sheet(title)
        sheet.sheet_state = state
        for row in (HEADERS, make_message(2)) if state != "visible" else (("Colour", "Meaning"), ("red", "late")):
            sheet.append(row)
    return save(book)


def build_several_sheets() -> bytes:
    book = make_book(HEADERS, make_message(1), title="November")
    sheet = book.create_sheet("December")
    for row in (("Body", "From"), ("The same text", "Ana"), ("The same text", "Ana"), (), ("Other text", "Ana")):
        sheet.append(row)
    return save(book)


def build_never_calculated() -> bytes:
    return save(make_book(("Subject", "Message"), ("One", '=A2&" more"'), ("Two", "typed"), (None, "=A3")))


def build_merged_cells() -> bytes:
    book = make_book(("Title over all",), ("Subject", "Message", None, "Sender"), ("S", "Long text", None, "Dana"))
    for area in ("A1:D1", "B2:C2", "B3:C3"):
        book.active.merge_cells(area)
    return save(book)


def build_receipt_again() -> bytes:
    return save(
        make_book(
            ("Subject", "Message", "Sender", "Outcome", "Ticket", "Reason"),
            ("Claim 7", "Where is it?", "Dana Ortiz", "ticket", "BS-000001", None),
            ("Claim 8", "'=1+1", "Dana Ortiz", "rejected", None, "The row names no sender."),
        )
    )


def build_ole(stream: str) -> bytes:
    """Return a minimal OLE container with one stream: header, one FAT sector, one directory sector, eight of content."""
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack("<IIIIIIIII", 0, 1, 1, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0)
    header += struct.pack("<I", 0) + b"\xff" * (4 * 108)
    chain = [0xFFFFFFFD, 0xFFFFFFFE, 3, 4, 5, 6, 7, 8, 9, 0xFFFFFFFE]
    table = struct.pack("<128I", *chain, *[0xFFFFFFFF] * (128 - len(chain)))

    def make_entry(name: str, kind: int, child: int, start: int, size: int) -> bytes:
        packed = (name + "\0").encode("utf-16-le")
        entry = packed.ljust(64, b"\0") + struct.pack("<HBB", len(packed), kind, 1)
        entry += struct.pack("<III", 0xFFFFFFFF, 0xFFFFFFFF, child) + bytes(36)
        return entry + struct.pack("<IQ", start, size)

    folder = make_entry("Root Entry", 5, 1, 0xFFFFFFFE, 0) + make_entry(stream, 2, 0xFFFFFFFF, 2, 4096)
    return header + table + folder + bytes(256) + bytes(4096)


def build_encrypted() -> bytes:
    # msoffcrypto encrypts less than 4,096 bytes in a way that cannot be decrypted. This workbook is larger.
    sealed = io.BytesIO()
    OOXMLFile(io.BytesIO(build_plain())).encrypt(PASSWORD, sealed)
    return sealed.getvalue()


def build_ods() -> bytes:
    manifest = b'<?xml version="1.0"?><!DOCTYPE manifest PUBLIC "-//OpenOffice.org//DTD Manifest 1.0//EN" "M.dtd"><m/>'
    return zip_parts({"mimetype": b"application/vnd.oasis.opendocument.spreadsheet", "META-INF/manifest.xml": manifest})


def build_typed(content_type: str) -> bytes:
    return zip_parts(make_parts(DATA, kind=content_type))


def with_sheet(sheet: bytes) -> bytes:
    return zip_parts({**make_parts(DATA), "xl/worksheets/sheet1.xml": sheet})


def build_doctype(encoding: str) -> bytes:
    text = (
        f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE w [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
        f'<worksheet xmlns="{MAIN_NS}"><sheetData>{make_row(1, "Subject", "Message", "&b;")}</sheetData></worksheet>'
    )
    return with_sheet(text.encode(encoding))


def build_code_page() -> bytes:
    """The parser would read the text after the declaration as EBCDIC, in which ``<!DOCTYPE`` is unrecognisable."""
    return with_sheet(b"<?xml version='1.0' encoding='cp037'?>" + "<!DOCTYPE w><worksheet/>".encode("cp037"))


# fmt: off
BUILDERS: dict[str, Callable[[], bytes]] = {
    "plain.xlsx": build_plain,
    "kinds-of-cells.xlsx": build_kinds_of_cells,
    "header-in-row-5.xlsx": build_header_in_row_5,
    "hidden-sheets.xlsx": build_hidden_sheets,
    "several-sheets.xlsx": build_several_sheets,
    "never-calculated.xlsx": build_never_calculated,
    "merged-cells.xlsx": build_merged_cells,
    "receipt-again.xlsx": build_receipt_again,
    "no-header.xlsx": lambda: save(make_book(("Colour", "Meaning"), ("red", "late"))),
    "macros.xlsm": lambda: zip_parts(make_parts(DATA, kind=XLSM) | {"xl/vbaProject.bin": b"\xcc\x61macro"}),
    "lying-dimension.xlsx": lambda: zip_parts(make_parts('<dimension ref="A1:XFD1048576"/>' + DATA)),
    "narrow-dimension.xlsx": lambda: zip_parts(make_parts('<dimension ref="A1"/>' + DATA)),
    "sparse.xlsx": lambda: zip_parts(
        make_parts(f'<sheetData>{TWO_ROWS}<row r="1048576">{make_cell("XFD1048576", "far")}</row></sheetData>')
    ),
    "far-row.xlsx": lambda: zip_parts(
        make_parts(f'<sheetData>{TWO_ROWS}<row r="1048576">{make_cell("B1048576", "last")}</row></sheetData>')
    ),
    "row-out-of-range.xlsx": lambda: zip_parts(
        make_parts(f'<sheetData>{TWO_ROWS}<row r="99999999999999999999"><c><v>1</v></c></row></sheetData>')
    ),
    "rich-text.xlsx": lambda: zip_parts(
        make_parts(
            "<sheetData>" + make_row(1, "Subject", "Message")
            + '<row r="2"><c r="A2" t="inlineStr"><is><r><t>Two </t></r><r><rPr><b/></rPr><t>runs</t></r>'
            "<rPh sb=\"0\" eb=\"1\"><t>hint</t></rPh></is></c>"
            + make_cell("B2", "Line_x000D_\nnext_x0007_ _x005F_x0041_") + "</row></sheetData>"
        )
    ),
    "damaged-cells.xlsx": lambda: zip_parts(
        make_parts(f'<sheetData>{make_row(1, "Subject", "Message")}<row r="2"><c r="A2" t="s"><v>99</v></c>'
                   '<c r="B2" t="d"><v>someday</v></c></row></sheetData>')
    ),
    "encrypted.xlsx": build_encrypted,
    "encrypted-cut-off.xlsx": lambda: build_encrypted()[:4096],
    "doctype.xlsx": lambda: build_doctype("utf-8"),
    "doctype-utf16.xlsx": lambda: build_doctype("utf-16"),
    "code-page.xlsx": build_code_page,
    "bomb.xlsx": lambda: zip_parts({**make_parts(DATA), "xl/media/image1.bin": bytes(5_000_000)}),
    "many-entries.xlsx": lambda: zip_parts({**make_parts(DATA), **{f"x/{n}.xml": b"<a/>" for n in range(200)}}),
    "cut-off.xlsx": lambda: build_plain()[:3000],
    "strict.xlsx": lambda: zip_parts(
        {name: part.replace(MAIN_NS.encode(), b"http://purl.oclc.org/ooxml/spreadsheetml/main")
         for name, part in make_parts(DATA).items()}
    ),
    "old.xls": lambda: build_ole("Workbook"),
    "letter.doc": lambda: build_ole("WordDocument"),
    "named-xls.xls": lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
    "binary.xlsb": lambda: build_typed("application/vnd.ms-excel.sheet.binary.macroEnabled.main"),
    "letter.docx": lambda: build_typed(
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    ),
    "table.ods": build_ods,
    "table.csv": lambda: b"Subject,Message,Sender\r\nClaim 7,Where is it?,Dana Ortiz\r\n",
    "page.xls": lambda: b"<html><body><table><tr><td>Subject</td></tr></table></body></html>",
    "picture.xlsx": lambda: b"\x89PNG\r\n\x1a\n" + bytes(64),
    "empty.xlsx": lambda: b"",
    "other.zip": lambda: zip_parts({"readme.txt": b"hello"}),
}
# fmt: on


def main() -> None:
    for name, build in BUILDERS.items():
        (FOLDER / name).write_bytes(build())


if __name__ == "__main__":
    main()
