"""Equations hold at random inputs, of which none is trivial; a wrong method is caught."""

import csv

import pytest
import torch
from synthetic_bank import component_means, write_bank

from methods import distill
from pipeline.equations import __main__ as equations
from pipeline.equations import others
from pipeline.equations.case import OTHER, PROMPT
from pipeline.equations.moments import component_images, exact_prior, moment

NAMES = [check.compared for check in equations.CHECKS]


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return write_bank(tmp_path_factory.mktemp("bank"), shapes=4, count=32, size=16)


@pytest.fixture(scope="module")
def rows(bank):
    return equations.residuals(equations.drawn(bank, draws=2, seed=5), seed=5)


def test_every_equation_holds(rows):
    assert [row["compared"] for row in rows if not row["holds"]] == []
    assert len(rows) == len(equations.CHECKS) == len(set(NAMES))


def test_what_is_compared_is_not_nothing(rows):
    """All but those whose right side is zero by the equation."""
    nothing = {row["compared"] for row in rows if row["largest"] < 0.01}
    assert nothing == {
        "DDS of an image and itself = 0",
        "Perp-Neg's push has no share along the text's direction",
    }


def test_other_seeds_give_other_residuals(bank, rows):
    other = equations.residuals(equations.drawn(bank, draws=2, seed=6), seed=6)
    assert all(row["holds"] for row in other)
    assert [row["largest"] for row in other] != [row["largest"] for row in rows]


def test_composed_images_are_the_priors_means(bank):
    prior = exact_prior(bank, [PROMPT, OTHER], 0)
    images, opacity = component_images(prior)
    for grey in (0.0, 0.3, 1.0):
        means = 2.0 * (images + (1.0 - opacity)[:, None] * grey) - 1.0
        behind = torch.full((3,), grey, dtype=torch.float64)
        expected = component_means(prior, behind)
        torch.testing.assert_close(means.flatten(1), expected, rtol=0.0, atol=1e-12)


def test_densities_agree_with_the_priors_own(bank):
    prior = exact_prior(bank, [PROMPT, OTHER], 0)
    at = moment(prior, torch.Generator().manual_seed(3), between=(PROMPT, OTHER))
    for text in (PROMPT, "noisy", "a house, side view"):
        row = prior.embed([text])[:, None].expand(-1, 2, -1)
        mine = at.log_q(at.x_t, text) - at.weights(text).sum().log()
        theirs = prior.log_density(at.x_t, at.t, row, at.view)[0]
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-7)


# A sign error in one coefficient, a weight counted twice, a forgotten term.
BROKEN = {
    "csd": lambda: distill._constant({"text": 1.0, "uncond": 1.0}),
    "vsd": lambda *, omega: distill._constant(distill._guided(2 * omega) | {"particle": -1.0}),
    "dds": lambda *, omega: distill._constant(distill._guided(omega) | {"source_text": -1.0}),
}


@pytest.mark.parametrize(("name", "equation"), [("csd", "7"), ("vsd", "12"), ("dds", "14")])
def test_a_wrong_coefficient_fails_its_equation(bank, monkeypatch, name, equation):
    from dataclasses import replace

    wrong = replace(distill.METHODS[name], make=BROKEN[name])
    monkeypatch.setitem(distill.METHODS, name, wrong)
    found = equations.residuals(equations.drawn(bank, draws=1, seed=1), seed=1)
    assert equation in {row["equation"] for row in found if not row["holds"]}


def test_what_is_not_finite_does_not_hold(bank, monkeypatch):
    broken = others.CHECKS[0].__class__(
        "0", "nan = 0", 1.0, lambda case: (case.at.t / 0, case.at.t)
    )
    monkeypatch.setattr(equations, "CHECKS", (broken,))
    (row,) = equations.residuals(equations.drawn(bank, draws=1, seed=1), seed=1)
    assert not row["holds"]


def test_the_program_writes_a_row_a_check(bank, tmp_path, capsys):
    out = tmp_path / "residuals.csv"
    equations.main(["--bank", str(bank), "--draws", "1", "--out", str(out)])
    with out.open() as file:
        found = list(csv.DictReader(file))
    assert [row["compared"] for row in found] == NAMES
    assert capsys.readouterr().out.count("holds") == len(NAMES)
