"""The SMTP server misbehaves: certain outcomes are recorded, uncertain ones are ambiguous, and no mail is sent twice."""

import random

import pytest

from core import claims
from tests.faults.report import Row
from tests.faults.shared_trial import SharedTrial
from tests.faults.trial import FULL, modes
from tests.servers.proxy import Direction
from tests.servers.smtp import Behaviour

ROUNDS = 5 if FULL else 1
CUTS = 30 if FULL else 3
REFUSALS = {
    "4xx to the message": Behaviour(dot="451 4.3.0 Try later"),
    "4xx to the sender": Behaviour(mail="421 4.3.2 Closing"),
    "5xx to the message": Behaviour(dot="554 5.7.1 Refused"),
    "5xx to the recipient": Behaviour(rcpt="550 5.1.1 No such user"),
    "dropped before the final dot": Behaviour(drop="data"),
}


@pytest.mark.fault("connection dropped after the final dot")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("drop", ["dot_stored", "dot_lost"] if FULL else ["dot_stored"])
def test_a_connection_dropped_after_the_final_dot_is_in_doubt_and_repeated_once(
    shared_trial: SharedTrial, drop: str, row: Row
) -> None:
    kept = "the mail kept" if drop == "dot_stored" else "the mail lost"
    row.faults, row.runs = (f"connection dropped after the final dot, {kept}: ambiguous, the same bytes once more",), ROUNDS
    count = shared_trial.trial.system.count
    for _ in range(ROUNDS):
        before = count("delivery WHERE ambiguities > 0")
        stored = len(shared_trial.smtp.messages)
        shared_trial.smtp.set_behaviour(Behaviour(drop=drop), times=1)  # type: ignore[arg-type]
        shared_trial.trial.send_mail()
        shared_trial.trial.wait(lambda before=before: count("delivery WHERE ambiguities > 0") == before + 1, "doubt", 60)
        shared_trial.settle_and_check(make_retries_due=True)
        assert len(shared_trial.smtp.messages) == stored + (2 if drop == "dot_stored" else 1)
        assert count("delivery WHERE state = 'ambiguous'") == 0


@pytest.mark.parametrize("shared_mode", modes("embedded"), indirect=True, scope="package")
@pytest.mark.fault("4xx, 5xx, dropped before the final dot")
@pytest.mark.timeout(600)
def test_refusals_of_every_kind_lose_and_double_nothing(shared_trial: SharedTrial, row: Row) -> None:
    trial, count = shared_trial.trial, shared_trial.trial.system.count
    failed = count("delivery WHERE state = 'failed'")
    row.runs = len(REFUSALS) * ROUNDS
    for _ in range(ROUNDS):
        for behaviour in REFUSALS.values():
            shared_trial.smtp.set_behaviour(behaviour, times=1)
            trial.send_mails(2)
            made = len(trial.nonces)
            trial.wait(lambda made=made: count("delivery WHERE smtp_reply IS NOT NULL") >= made, "tries", 60)
    shared_trial.settle_and_check(make_retries_due=True)
    assert count("delivery WHERE state = 'failed'") == failed + 2 * ROUNDS
    assert count("delivery WHERE state = 'failed' AND reason_code = 'refused'") == failed + 2 * ROUNDS


@pytest.mark.parametrize("shared_mode", modes("embedded"), indirect=True, scope="package")
@pytest.mark.fault("a slow 250, slower than the lease lasts, which is renewed meanwhile")
@pytest.mark.timeout(300)
def test_a_server_that_answers_later_than_the_lease_lasts_gets_the_mail_once(shared_trial: SharedTrial, row: Row) -> None:
    trial, stored = shared_trial.trial, len(shared_trial.smtp.messages)
    delay = claims.CLAIM_TTL.total_seconds() * (2 if FULL else 1) + 3
    shared_trial.smtp.set_behaviour(Behaviour(dot_delay=delay), times=1)
    trial.send_mail()
    trial.wait(lambda: trial.system.count("delivery WHERE state = 'intent'") == 1, "the intent to be written", 60)
    behind = trial.send_mails(3)
    shared_trial.settle_and_check(delay + 60)
    assert len(shared_trial.smtp.messages) == stored + 1 + len(behind)
    assert trial.system.count("delivery WHERE state = 'ambiguous' OR finished_at IS NULL") == 0


@pytest.mark.parametrize("shared_mode", modes("embedded"), indirect=True, scope="package")
@pytest.mark.fault("partial refusal: one address refused for good, the others taken; the owner gets a follow-up")
@pytest.mark.timeout(300)
def test_one_refused_address_fails_alone_and_leaves_the_owner_a_follow_up(shared_trial: SharedTrial, row: Row) -> None:
    trial, count = shared_trial.trial, shared_trial.trial.system.count
    row.runs = ROUNDS
    for _ in range(ROUNDS):
        before = count("delivery WHERE state = 'failed'"), count("follow_up WHERE kind = 'notice_problem'")
        number = len(trial.nonces) + 2
        shared_trial.smtp.set_behaviour(Behaviour(rcpt_of={f"p{number}@practice{number}.example": "550 5.1.1 No such user"}))
        trial.send_mails(4)
        shared_trial.settle_and_check(60)
        shared_trial.smtp.set_behaviour(Behaviour())
        failed = count("delivery WHERE state = 'failed'"), count("follow_up WHERE kind = 'notice_problem'")
        assert failed == (before[0] + 1, before[1] + 1)


@pytest.mark.parametrize("shared_mode", modes("embedded"), indirect=True, scope="package")
@pytest.mark.fault("SMTP connection cut after k bytes, to the server or from it")
@pytest.mark.timeout(1200)
def test_smtp_cut_at_any_byte_loses_and_doubles_nothing(shared_trial: SharedTrial, row: Row, seed: int) -> None:
    chance = random.Random(seed)
    row.runs = CUTS
    for _ in range(CUTS):
        towards: Direction = chance.choice(["to_server", "to_client"])
        shared_trial.smtp_proxy.cut_after(chance.randrange(40, 4_000 if towards == "to_server" else 600), towards)
        shared_trial.smtp_proxy.cut_now()  # cuts the connection that is still open; the next one is cut after k bytes
        shared_trial.trial.send_mails(2)
        tickets = len(shared_trial.trial.nonces)
        shared_trial.trial.wait(lambda tickets=tickets: shared_trial.trial.system.count("ticket") >= tickets, "the tickets", 60)
        shared_trial.trial.wait(lambda: not shared_trial.smtp_proxy.has_pending_cut, "the next connection", 60)
    shared_trial.smtp_proxy.resume()
    shared_trial.settle_and_check(120, make_retries_due=True)


@pytest.mark.fault("the way out closed and opened again")
@pytest.mark.timeout(240)
def test_a_closed_way_out_makes_mail_wait_and_is_used_at_once_when_it_opens(shared_trial: SharedTrial, row: Row) -> None:
    row.runs = ROUNDS
    for _ in range(ROUNDS):
        shared_trial.smtp.stop()
        shared_trial.trial.send_mails(3)
        tickets = len(shared_trial.trial.nonces)
        shared_trial.trial.wait(lambda tickets=tickets: shared_trial.trial.system.count("ticket") == tickets, "the tickets", 60)
        shared_trial.smtp.start()
        shared_trial.settle_and_check(30 if FULL else 60)
