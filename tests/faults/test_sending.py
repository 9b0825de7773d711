"""The way out misbehaves: what is certain is written down, what nobody can tell is ambiguous, nothing goes twice."""

import pytest

from tests.faults.report import Row
from tests.faults.scene import Scene
from tests.faults.trial import FULL, modes
from tests.servers.smtp import Behaviour

ROUNDS = 5 if FULL else 1
UNKIND = {
    "4xx to the message": Behaviour(dot="451 4.3.0 Try later"),
    "4xx to the sender": Behaviour(mail="421 4.3.2 Closing"),
    "5xx to the message": Behaviour(dot="554 5.7.1 Refused"),
    "5xx to the recipient": Behaviour(rcpt="550 5.1.1 No such user"),
    "dropped before the final dot": Behaviour(drop="data"),
    "a slow 250": Behaviour(dot_delay=25.0 if FULL else 3.0),
}


@pytest.mark.fault("connection dropped after the final dot: ambiguous, the same bytes once more")
@pytest.mark.parametrize("drop", ["dot_stored", "dot_lost"] if FULL else ["dot_stored"])
def test_a_connection_dropped_after_the_final_dot_is_ambiguous_and_repeated_once(scene: Scene, drop: str, row: Row) -> None:
    row.runs = ROUNDS
    count = scene.trial.system.count
    for _ in range(ROUNDS):
        before = count("delivery WHERE ambiguities > 0")
        stored = len(scene.smtp.messages)
        scene.smtp.behave(Behaviour(drop=drop), times=1)  # type: ignore[arg-type]
        scene.trial.send_mail()
        scene.trial.wait(lambda before=before: count("delivery WHERE ambiguities > 0") == before + 1, "doubt", 30)
        scene.calm(hasten=True)
        assert len(scene.smtp.messages) == stored + (2 if drop == "dot_stored" else 1)
        assert count("delivery WHERE state = 'ambiguous'") == 0


@pytest.mark.parametrize("scene_mode", modes("embedded"), indirect=True, scope="package")
@pytest.mark.fault("4xx, 5xx, dropped before the final dot, slow 250")
@pytest.mark.timeout(600)
def test_refusals_and_delays_of_every_kind_lose_and_double_nothing(scene: Scene, row: Row) -> None:
    trial, count = scene.trial, scene.trial.system.count
    failed = count("delivery WHERE state = 'failed'")
    row.runs = len(UNKIND) * ROUNDS
    for _ in range(ROUNDS):
        for behaviour in UNKIND.values():
            scene.smtp.behave(behaviour, times=1)
            trial.send_mails(2)
            made = len(trial.nonces)
            trial.wait(lambda made=made: count("delivery WHERE smtp_reply IS NOT NULL") >= made, "tries", 60)
    scene.calm(hasten=True)
    assert count("delivery WHERE state = 'failed'") == failed + 2 * ROUNDS
    assert count("delivery WHERE state = 'failed' AND reason_code = 'refused'") == failed + 2 * ROUNDS


@pytest.mark.fault("the way out closed and opened again")
@pytest.mark.timeout(240)
def test_a_closed_way_out_makes_mail_wait_and_is_used_at_once_when_it_opens(scene: Scene, row: Row) -> None:
    row.runs = ROUNDS
    for _ in range(ROUNDS):
        scene.smtp.stop()
        scene.trial.send_mails(3)
        tickets = len(scene.trial.nonces)
        scene.trial.wait(lambda tickets=tickets: scene.trial.system.count("ticket") == tickets, "the tickets", 30)
        scene.smtp.start()
        scene.calm(30)
