"""What a hung gateway may cost: a call that must not be repeated, and nothing else."""

from __future__ import annotations

import pytest

from reliability.judge import Documents, Evidence, lost_gateway_breaks_only_its_calls
from support.faults import Fault
from support.openloop_operation import Ask, Operation, Surface

HUNG = Fault("gateway-1", "SIGSTOP", at=5.0, gone=15.0, back=15.2)
KILLED = Fault("gateway-1", "SIGKILL", at=5.0, gone=5.0, back=7.0)


def without_an_answer(ask: Ask, start: float, seconds: float) -> Operation:
    operation = Operation(1, ask, Surface.REST, start, "tag", "subject", "word", "job")
    operation.start, operation.end, operation.code = start, start + seconds, "DEADLINE_EXCEEDED"
    return operation


@pytest.mark.parametrize(
    ("ask", "start", "fault", "held"),
    [
        (Ask.DOCUMENT, 5.1, HUNG, True),
        (Ask.DOCUMENT, 20.0, HUNG, False),
        (Ask.SEARCH, 5.1, HUNG, False),
        (Ask.DOCUMENT, 5.1, KILLED, False),
    ],
    ids=["sent to the hung one", "sent when it was back", "repeatable", "the gateway was killed"],
)
def test_only_a_call_that_cannot_be_repeated_may_wait_for_a_hung_gateway_until_its_deadline(
    ask: Ask, start: float, fault: Fault, held: bool
) -> None:
    evidence = Evidence([without_an_answer(ask, start, 10.0)], [fault], Documents(0), 0.0)
    assert lost_gateway_breaks_only_its_calls(evidence).held is held
