"""The paper's statements in our words, and what would bear each of them out.

Of "Text-to-3D with Classifier Score Distillation" (arXiv 2310.19415). Every check is a difference
that must be above zero; reports.statement_checks judges it on one table, reports.statements puts
the checks together.
"""

from dataclasses import dataclass

SEVERAL = 2.0  # times; the least that "several" may mean
MAIN_PART = 0.5**0.5  # cosine from which a part is more than half of the direction's square
MOST = 0.5  # of objects or views; by chance 1 of 81 captions is hit
KEPT = (
    20.0  # dB: a root mean square error of a tenth of the range, plainly seen beside the original
)


@dataclass(frozen=True)
class Check:
    """`a` minus `b` is above zero in `table`. What they are depends on the kind:

    - pair: columns; `metric` is compared by prompt, with the table's own correction;
    - floor: a column and the metric that its `metric` must exceed;
    - share: a column and a bound;
    - norm: the same, `metric` being a quantity and a third of the run;
    - speed: columns; the steps that `a` saves on `b`'s way to nine tenths of its end;
    - beside: the 2D pictures and the 3D views of column `a`; `metric` grows with what is wrong;
    - units: each a number or "column measure" of a table with a row an object; `metric` is how a
      reader calls the difference.
    """

    kind: str
    table: str
    metric: str
    a: str | float
    b: str | float


@dataclass(frozen=True)
class Statement:
    """What the paper says, where; the checks that must all hold; where none of them was run,
    `otherwise` those on a smaller record; and why the bounds are what they are.
    """

    where: str
    says: str
    why: str
    checks: tuple[Check, ...] = ()
    otherwise: tuple[Check, ...] = ()


def _pairs(a: str, b: str, *metrics: str, table: str = "pairs") -> tuple[Check, ...]:
    return tuple(Check("pair", table, metric, a, b) for metric in metrics)


def _norms(quantity: str, bound: float) -> tuple[Check, ...]:
    thirds = ("first", "last")
    return tuple(Check("norm", "norms", f"{quantity} {third}", "sds", bound) for third in thirds)


def _units(table: str, called: str, a: str | float, b: str | float) -> Check:
    return Check("units", table, called, a, b)


BY_PROMPT = "Paired by prompt, p by Holm over the pairs of columns of each number."

STATEMENTS = (
    Statement(
        "Fig. 2a",
        "The generative part's gradient is several times larger than the classifier part's.",
        "Ratio of mean norms in SDS's runs, first and last third; 2 is the least that several may "
        "mean.",
        _norms("ratio", SEVERAL),
    ),
    Statement(
        "Fig. 2a",
        "With the guidance weight that SDS needs, the classifier part rules its direction.",
        "Cosine of SDS's direction with the classifier part, first and last third, where means "
        "over many noises were taken: in toy81 at the first and the last step alone, and at the "
        "first both parts are nearly parallel. From 0.71 on the part is more than half of the "
        "direction's square.",
        _norms("cosine", MAIN_PART),
    ),
    Statement(
        "Fig. 2b",
        "Without guidance (omega = 0) SDS makes no object.",
        "No object: a silhouette below the best wrong shape's, and the prompt first in fewer than "
        "half of the views. Diversity 0 and 1 of a prompt are averaged.",
        (
            _units("fig2b", "IoU below a wrong shape's by", "0 iou_floor", "0 truth_iou"),
            _units("fig2b", "R@1 below 0.5 by", MOST, "0 r_at_1"),
        ),
    ),
    Statement(
        "Abstract",
        "The classifier part alone is enough to make the object.",
        "A silhouette above the best wrong shape's and above the ball's that the run began with; "
        "the caption, and the caption with the right view word from all four sides, first for "
        "more than half of the objects (by chance 1 in 81).",
        (
            Check("floor", "summary", "truth_iou", "csd", "iou_floor"),
            Check("floor", "summary", "truth_iou", "csd", "iou_ball"),
            Check("share", "summary", "r_at_1_object", "csd", MOST),
            Check("share", "summary", "strict_hit_object", "csd", MOST),
        ),
        (
            _units("fig2b", "IoU above a wrong shape's by", "csd truth_iou", "csd iou_floor"),
            _units("fig2b", "IoU above the ball's by", "csd truth_iou", "csd iou_ball"),
            _units("fig2b", "R@1 above 0.5 by", "csd r_at_1", MOST),
            _units("fig2b", "strict hits of views above 0.5 by", "csd strict_hit", MOST),
        ),
    ),
    Statement(
        "Table 2",
        "CSD scores above SDS at CLIP score, R@1 and R@5, by view.",
        BY_PROMPT,
        _pairs("csd", "sds", "clip_score", "r_at_1", "r_at_5"),
        (
            _units("fig2b", "CLIP score", "csd clip_score", "7.5 clip_score"),
            _units("fig2b", "R@1", "csd r_at_1", "7.5 r_at_1"),
        ),
    ),
    Statement(
        "Table 2",
        "The paper's full method, with the annealed negative prompt, scores above SDS there.",
        BY_PROMPT,
        _pairs("csd_neg", "sds", "clip_score", "r_at_1", "r_at_5"),
    ),
    Statement(
        "Eq. 10, Fig. 5",
        "An annealed negative prompt keeps the agreement with the text (not below plain CSD).",
        BY_PROMPT + " Fails where CSD is above, holds only where it is below: no margin was fixed.",
        _pairs("csd_neg", "csd", "clip_score", "r_at_1"),
    ),
    Statement(
        "Eq. 10, Fig. 5",
        "A negative prompt against over-saturated colour lowers saturation.",
        BY_PROMPT + " Both numbers grow with saturation.",
        _pairs("csd", "csd_neg", "chroma", "clipped"),
    ),
    Statement(
        "Eq. 10, Fig. 5",
        "A constant negative prompt costs agreement with the text.",
        BY_PROMPT,
        _pairs("csd", "csd_neg-constant", "clip_score", "r_at_1", table="fig5"),
    ),
    Statement(
        "Eq. 10",
        "A negative prompt accelerates: nine tenths of CSD's way in fewer steps.",
        "Steps saved to where CSD has nine tenths of its own way, p by Holm over the columns; a "
        "run that never gets there counts with all its steps.",
        tuple(
            Check("speed", "speed", metric, "csd_neg", "csd")
            for metric in ("truth_iou", "clip_score")
        ),
    ),
    Statement(
        "Eq. 12, Sec. 5.2",
        "CSD does as well as VSD, without its second network.",
        BY_PROMPT + " Fails where VSD is above, holds only where it is below: no margin was fixed.",
        _pairs("csd", "vsd", "clip_score", "r_at_1"),
    ),
    Statement(
        "Sec. 5.2",
        "CSD is as good as VSD at equal cost (2400 denoiser evaluations a run).",
        BY_PROMPT + " Judged as the statement before it.",
        _pairs("csd_2400", "vsd_2400", "clip_score", "r_at_1", table="cost"),
    ),
    Statement(
        "Table 1",
        "People prefer CSD's objects and textures.",
        "Needs people; nobody was asked. `snakemake study` makes the pages to ask with.",
    ),
    Statement(
        "Table 1",
        "CSD synthesises textures on given meshes.",
        "The caption first among 81 for more than half of the objects, and of the views.",
        tuple(
            Check("share", "texture", metric, "csd", MOST) for metric in ("r_at_1_object", "r_at_1")
        ),
    ),
    Statement(
        "Eq. 11, Fig. 6",
        "Eq. 11 edits a finished object and keeps the rest.",
        "Nearer to the true target than the scene before was, by colour and by silhouette; what "
        "should stay within 20 dB of the scene before (a root mean square error of a tenth).",
        (
            _units("fig6", "PSNR to target, gained", "csd_edit psnr_target", "source psnr_target"),
            _units("fig6", "IoU with target, gained", "csd_edit iou_target", "source iou_target"),
            _units("fig6", "PSNR of the rest above 20 dB by", "csd_edit psnr_stay", KEPT),
        ),
    ),
    Statement(
        "Eq. 14, Fig. 7",
        "Of DDS only the classifier part edits pictures.",
        "That part alone comes nearer to a render of the target than the source was, than DDS "
        "without it, and than DDS at omega = 0 (root mean square difference; two seeds averaged).",
        tuple(
            _units("fig7", called, f"{column} to_target", "dds_cls to_target")
            for called, column in (
                ("nearer than the source by", "source"),
                ("nearer than without the part by", "dds_no_cls"),
                ("nearer than at omega = 0 by", "dds_omega0"),
            )
        ),
    ),
    Statement(
        "Limitations",
        "CSD makes artefacts on 2D pictures that 3D objects do not show.",
        "2D − 3D by distance to the nearest render, clipped pixels and what stands beside the "
        "object; p by Holm over every row of the figure's table.",
        tuple(
            Check("beside", "fig_2d", metric, "csd", 0.0)
            for metric in ("to_render", "clipped", "outside")
        ),
    ),
)  # fmt: skip
