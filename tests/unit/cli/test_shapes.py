"""What `--json` prints."""

from dispatcher import Decision, Selection
from dispatcher.cli.shapes import selection_data
from dispatcher.selection.selection import Candidate


def test_of_a_question_the_data_name_its_choices() -> None:
    candidates = tuple(Candidate(function=name, probability=0.3, explain="words") for name in ("bill", "pay", "refund"))
    asked = Selection(text="t", candidates=candidates, choices=candidates[:2], decision=Decision.ASK)
    data = selection_data(asked)
    assert data["choices"] == ["bill", "pay"]
    assert [candidate["function"] for candidate in data["candidates"]] == ["bill", "pay", "refund"]
