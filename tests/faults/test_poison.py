"""Poison and hostile mail in the whole system: three attempts, then quarantine with the source; other items are not held up."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.system import ROOT
from tests.faults.report import Row
from tests.faults.trial import CANARY, FULL, Trial, modes
from tests.ingest.parsers.hostile_mail import build_hostile

PRODUCT = [
    "accounts",
    "cli",
    "core",
    "demo",
    "ingest",
    "migrations",
    "notify",
    "ops",
    "outbox",
    "runtime",
    "surveys",
    "templates",
    "tickets",
    "web",
]
#: Appended to a copy of the parser: no mail is known that does any of this to the real parser.
HARM = f'''

import itertools, os, re, signal, sys

def _recurse(): return [_recurse()]

def _recurse_endlessly():
    sys.setrecursionlimit(1 << 30)
    _recurse()

HARMS = {{
    b"exception": lambda: (_ for _ in ()).throw(RuntimeError("{CANARY}")),
    b"loop": lambda: [None for _ in itertools.count() if False],
    b"wait": signal.pause,
    b"memory": lambda: [bytearray(1 << 20) for _ in itertools.count()],
    b"recursion": _recurse,
    b"endless recursion": _recurse_endlessly,
    b"killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
}}
_parse_normally = parse_mail

def parse_mail(data, options=ParseOptions()):
    if found := re.search(rb"^X-Harm: ([a-z ]+)\\r?$", data, re.MULTILINE):
        HARMS[found[1]]()
    return _parse_normally(data, options)
'''
HARMS = ("exception", "loop", "wait", "memory", "recursion", "endless recursion", "killed")
LIMITS = "[limits]\nparser_wall_seconds = 6.0\nparser_cpu_seconds = 1\n"
#: A mail above the size limit is not fetched, so that no source is stored.
MAX_FETCHED_BYTES = 24_000_000
MAILS = Path(__file__).parents[1] / "corpus" / "mail"


@pytest.fixture
def vulnerable_root(tmp_path: Path) -> Path:
    """A copy of the product whose mail parser does the harm that a mail names."""
    root = tmp_path / "product"
    for name in PRODUCT:
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("bootstrap.py", "workers.py"):
        shutil.copy(ROOT / name, root)
    with (root / "ingest" / "parsers" / "mail" / "message.py").open("a") as parser:
        parser.write(HARM)
    return root


@pytest.mark.fault("poison: exception, endless loop, hang, memory, recursion, killed parser")
@pytest.mark.parametrize("mode", modes("embedded"))
@pytest.mark.timeout(900)
def test_poison_is_quarantined_after_three_attempts_and_the_rest_goes_on(
    make_trial: Callable[..., Trial], vulnerable_root: Path, row: Row
) -> None:
    trial = make_trial(extra=LIMITS)
    rounds = 3 if FULL else 1
    row.runs = rounds * len(HARMS)
    for _ in range(rounds):
        for harm in HARMS:
            trial.send_mails(3)
            trial.send_poison(harm)
    innocent = len(trial.nonces) - len(trial.poison)
    trial.start(root=vulnerable_root)
    form = trial.send_form()
    trial.wait(lambda: trial.system.count("ticket") >= innocent + 1, "the innocent to get through first", 120)
    trial.settle(180)
    assert set(trial.stop().values()) == {0}
    trial.check()
    attempts = trial.system.rows("SELECT attempts, losses FROM inbound_item WHERE disposition = 'quarantined'")
    assert attempts == [(2, 0)] * len(trial.poison), "the third failure settles it"
    assert trial.system.count("inbound_item WHERE disposition = 'ticket' AND attempts > 0") == 0, form
    sources = "inbound_item i JOIN blob b ON b.sha256 = i.sha256 WHERE disposition = 'quarantined' AND b.size > 0"
    assert trial.system.count(sources) == len(trial.poison)


def hostile(chance: random.Random) -> list[bytes]:
    """Return the generated hostile mails and those of the corpus; in the short form a sample of each."""
    built = [message for message in build_hostile().values() if len(message) < MAX_FETCHED_BYTES]
    kept = [file.read_bytes() for file in sorted(MAILS.glob("*.eml"))]
    return [*built, *kept] if FULL else [*chance.sample(built, 4), *chance.sample(kept, 30)]


@pytest.mark.fault("the hostile set, between honest mail and forms")
@pytest.mark.parametrize("mode", modes("embedded"))
@pytest.mark.timeout(1200)
def test_the_hostile_set_stops_nobody_and_each_has_one_outcome(trial: Trial, row: Row, seed: int) -> None:
    messages = hostile(random.Random(seed))
    row.runs = len(messages)
    trial.start()
    for number, message in enumerate(messages):
        trial.send_hostile(message)
        if number % 10 == 0:
            trial.send_mail()
            trial.send_form()
    trial.settle(600 if FULL else 120)
    assert set(trial.stop().values()) == {0}
    trial.check()
