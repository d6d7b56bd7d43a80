"""What a method card says of a row."""

import pytest

from reports import method_card


def test_what_a_row_shows_is_joined_where_nothing_differs():
    steps = [(s, t) for s in (0, 60, 119) for t in (100, 500, 900)]
    constant = [{"step": s, "t": t, "text": 1.0, "uncond": -1.0} for s, t in steps]
    assert method_card.shown_row(constant)[0] == ["at every step and t"]
    by_step = [{"step": s, "t": t, "text": float(s)} for s, t in steps]
    headings, lines = method_card.shown_row(by_step)
    assert headings == ["step 0", "step 60", "step 119"]
    assert lines == [{"name": "text", "values": ["0", "60", "119"]}]
    by_t = [{"step": s, "t": t, "neg": -float(t >= 200)} for s, t in steps]
    headings, lines = method_card.shown_row(by_t)
    assert headings == ["t 100", "t 500", "t 900"]
    assert lines[0]["values"] == ["0", "−1", "−1"]


@pytest.mark.parametrize(
    ("centred", "largest", "words", "wrong"),
    [
        (True, 0.0, "yes", False),
        (False, 1.0, "no: up to 1 in size", False),
        (True, 1.0, "but", True),
    ],
)
def test_a_row_that_contradicts_its_entry_is_told(centred, largest, words, wrong):
    found = method_card.verdict({"centred": centred, "largest_sum": largest})
    assert words in found[0]
    assert found[1] is wrong
