"""Parse a stored Formstack submission: JSON or urlencoded, from the webhook or from a saved file."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ingest.parsers.form.members import BodyMember, is_handshake_key, is_number, make_decoder, read_body, read_ids
from ingest.parsers.form.values import clean_text, find_depth, read_answer
from ingest.parsers.types import FormField, ParsedForm, ParseOptions, Refusal

MAX_DEPTH = 8
LABEL_NOTE = (
    "The fields are keyed by their labels: two fields of one label collapse to the last before they are sent. "
    "Set the webhook to send field ids and give a label map."
)
REPEATED_NOTE = "A field came more than once; all its answers are kept."


def parse_form(data: bytes, options: ParseOptions) -> ParsedForm | Refusal:
    """Return the submission as fields in their order. The handshake key is never in the result. Never raises.

    ``options.content_type`` decides between JSON and urlencoded; None detects it. Refusals as in
    :func:`ingest.sources.formstack_envelope.split_envelope`, and ``too_deep`` for a value nested deeper than MAX_DEPTH
    levels. ``notes`` says what had to be repaired. Source: Formstack webhook setup (formstack.md).
    """
    read = read_body(data, options.content_type, _MERGING_DECODER)
    if isinstance(read, Refusal):
        return read
    members, is_json = read
    secrets = [member for member in members if is_handshake_key(member.key)]
    ids = read_ids(members, secrets)
    if isinstance(ids, Refusal):
        return ids
    fields = [m for m in members if m.key not in ("FormID", "UniqueID") and m not in secrets]
    if any(find_depth(member.value) > MAX_DEPTH for member in fields):
        return Refusal("too_deep", f"A field's value is nested deeper than {MAX_DEPTH} levels.")
    answers, repeated = _collect_answers(fields)
    repeated = repeated or (is_json and _has_repeated_keys(data))
    notes = [LABEL_NOTE] if any(not is_number(key) for key in answers) else []
    notes += [REPEATED_NOTE] if repeated else []
    return ParsedForm(*ids, tuple(_make_field(key, value) for key, value in answers.items()), tuple(notes))


def _make_field(key: str, value: object) -> FormField:
    answer = read_answer(value)
    return FormField(key=key, text=answer.text, field_type=answer.field_type, parts=answer.parts)


def _collect_answers(members: Sequence[BodyMember]) -> tuple[dict[str, object], bool]:
    """Return values by key in their order. The values of a repeated key become a list, so that none is lost."""
    return _merge_pairs([(clean_text(member.key), member.value) for member in members])


def _merge_pairs(pairs: Sequence[tuple[str, object]]) -> tuple[dict[str, object], bool]:
    merged: dict[str, object] = {}
    repeated: dict[str, list[object]] = {}
    for key, value in pairs:
        if key in merged:
            merged[key] = repeated.setdefault(key, [merged[key]])
            repeated[key].append(value)
        else:
            merged[key] = value
    return merged, bool(repeated)


#: Keeps all values of a key that occurs twice in an object.
_MERGING_DECODER = make_decoder(object_pairs_hook=lambda pairs: _merge_pairs(pairs)[0])


def _has_repeated_keys(data: bytes) -> bool:
    """Whether an object in the (already valid) JSON holds a key twice."""
    seen: list[bool] = []

    def note(pairs: list[tuple[str, object]]) -> None:
        seen.append(len({key for key, _ in pairs}) < len(pairs))

    json.loads(data.decode("utf-8-sig"), object_pairs_hook=note, parse_int=str, parse_float=str)
    return any(seen)
