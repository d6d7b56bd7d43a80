"""What a stage adds is the difference of the same objects under the same protocol."""

import pandas
import pytest

from reports import stage_gain
from reports.records import ReportError


def _scores(values: dict[tuple[str, str], float], protocol: str = "p") -> pandas.DataFrame:
    rows = [
        {"column": c, "prompt_id": p, "seed": 0, "view": "object", "metric": "truth_iou"}
        | {"value": value, "protocol_id": protocol}
        for (c, p), value in values.items()
    ]
    return pandas.DataFrame(rows)


def test_objects_are_paired_and_counted():
    before = _scores({("csd", "a"): 0.5, ("csd", "b"): 0.5, ("sds", "a"): 0.9})
    after = _scores({("csd", "b"): 0.4, ("csd", "a"): 0.7, ("sds", "a"): float("nan")})
    found = stage_gain.differences(before, after)
    assert found["difference"].tolist() == pytest.approx([0.2, -0.1])
    lines = stage_gain.table(found, ["csd"]).splitlines()
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")
    assert lines[2].startswith("| `csd` | 1 of 2 | +0.050 | 0 of 0 |")


def test_another_protocol_is_no_comparison():
    one = {("csd", "a"): 0.5}
    with pytest.raises(ReportError, match="different protocols"):
        stage_gain.differences(_scores(one), _scores(one, "q"))
