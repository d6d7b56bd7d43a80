"""The paper's statements in our words, and what would bear each of them out.

Of "Text-to-3D with Classifier Score Distillation" (arXiv 2310.19415). reports.statements judges
them on tables.
"""

from dataclasses import dataclass

SEVERAL = 2.0  # times; the least that "several" may mean
MAIN_PART = 0.5**0.5  # cosine from which a part is more than half of the direction's square


@dataclass(frozen=True)
class Check:
    """`a` above `b`: columns for `pair`, a column and a floor's metric for `floor`, a column and a
    bound for `share` and `norm` (`metric` is then a quantity and a third of the run, as in
    norms.csv). For `speed`: the column `a` comes to nine tenths of `b`'s way in fewer steps.
    """

    kind: str
    metric: str
    a: str
    b: str | float


@dataclass(frozen=True)
class Statement:
    """What the paper says, where, and the checks that the tables allow; `no_worse` marks a claim
    of "not below", not of "above".
    """

    where: str
    says: str
    checks: tuple[Check, ...] = ()
    no_worse: bool = False


def _pairs(a: str, b: str, *metrics: str) -> tuple[Check, ...]:
    return tuple(Check("pair", metric, a, b) for metric in metrics)


STATEMENTS = (
    Statement(
        "Fig. 2a",
        "The generative part's gradient is several times larger than the classifier part's.",
        tuple(Check("norm", f"ratio {third}", "sds", SEVERAL) for third in ("first", "last")),
    ),
    Statement(
        "Fig. 2a",
        "With the guidance weight that SDS needs, the classifier part rules its direction.",
        tuple(Check("norm", f"cosine {third}", "sds", MAIN_PART) for third in ("first", "last")),
    ),
    Statement("Fig. 2b", "Without guidance (omega = 0) SDS makes no object."),
    Statement(
        "Abstract",
        "The classifier part alone is enough to make the object.",
        (
            Check("floor", "truth_iou", "csd", "iou_floor"),
            Check("floor", "truth_iou", "csd", "iou_ball"),
            Check("share", "r_at_1_object", "csd", 0.5),
            Check("share", "strict_hit_object", "csd", 0.5),
        ),
    ),
    Statement(
        "Table 2",
        "CSD scores above SDS at CLIP score, R@1 and R@5, by view.",
        _pairs("csd", "sds", "clip_score", "r_at_1", "r_at_5"),
    ),
    Statement(
        "Table 2",
        "The paper's full method, with the annealed negative prompt, scores above SDS there.",
        _pairs("csd_neg", "sds", "clip_score", "r_at_1", "r_at_5"),
    ),
    Statement(
        "Eq. 10, Fig. 5",
        "An annealed negative prompt keeps the agreement with the text (not below plain CSD).",
        _pairs("csd_neg", "csd", "clip_score", "r_at_1"),
        no_worse=True,
    ),
    Statement(
        "Eq. 10, Fig. 5",
        "A negative prompt against over-saturated colour lowers saturation.",
        _pairs("csd", "csd_neg", "chroma", "clipped"),
    ),
    Statement("Eq. 10, Fig. 5", "A constant negative prompt costs agreement with the text."),
    Statement(
        "Eq. 10",
        "A negative prompt accelerates: nine tenths of CSD's way in fewer steps.",
        tuple(Check("speed", metric, "csd_neg", "csd") for metric in ("truth_iou", "clip_score")),
    ),
    Statement(
        "Eq. 12, Sec. 5.2",
        "CSD does as well as VSD, without its second network.",
        _pairs("csd", "vsd", "clip_score", "r_at_1"),
        no_worse=True,
    ),
    Statement(
        "Sec. 5.2",
        "CSD is as good as VSD at equal cost (2400 denoiser evaluations a run).",
        _pairs("csd_2400", "vsd_2400", "clip_score", "r_at_1"),
        no_worse=True,
    ),
    Statement("Table 1", "People prefer CSD's objects and textures."),
    Statement("Table 1", "CSD synthesises textures on given meshes."),
    Statement("Eq. 11, Fig. 6", "Eq. 11 edits a finished object and keeps the rest."),
    Statement("Eq. 14, Fig. 7", "Of DDS only the classifier part edits pictures."),
    Statement("Limitations", "CSD makes artefacts on 2D pictures that 3D objects do not show."),
)
