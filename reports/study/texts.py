"""What participants read, and the rules by which answers are left out: both frozen with the study.

Two readings of "which is better": `best` is the paper's, all columns at once and one question that
takes visual quality and fit together; `pairs` shows two, asks for the two separately, and lets
people see no difference.
"""

from collections.abc import Mapping
from typing import Any

PAIRS, BEST = "pairs", "best"
SAME = "same"  # the choice "no difference"
SIDES_NEEDED = 10  # guessing sides, nine or more of ten are the same in 2 % of all cases

QUESTIONS: dict[str, list[dict[str, str]]] = {
    PAIRS: [
        {
            "id": "fit",
            "short": "Fit to the description",
            "text": "Which object fits the description better?",
            "hint": "Judge what it shows, not how well it is made.",
        },
        {
            "id": "quality",
            "short": "Quality",
            "text": "Which object is better made?",
            "hint": "Judge shape, surface and colour, whatever the description says.",
        },
    ],
    BEST: [
        {
            "id": "overall",
            "short": "Best overall",
            "text": "Which one is best?",
            "hint": "Take its visual quality and its fit to the description together.",
        },
    ],
}

# Defaults of `build`; the numbers that were chosen stand in study.json.
EXCLUSIONS: dict[str, float] = {
    "check_share": 0.75,  # of the checks' questions: guessing half of them is no attention
    "median_ms": 1200,  # of an answer: nobody reads, looks and decides faster
    "one_side_share": 0.9,  # of the answers that name an option
}


def instructions(reading: str, options: int) -> list[str]:
    """The paragraphs before the first trial."""
    counted = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}[options]
    several = len(QUESTIONS[reading]) > 1
    closing = "The same comparison may come back later; answer it as you see it then."
    undecided = " If you see no difference, say so." if reading == PAIRS else ""
    return [
        f"Computer programs made 3D objects from short descriptions. You will see {counted} "
        "objects at a time, made from the same description, and compare them.",
        "Each picture shows one object from four sides: front and left side above, back and right "
        "side below. The order of the objects means nothing.",
        f"There {'are two questions' if several else 'is one question'} about each comparison. "
        f"There are no right answers: we want to know what you see.{undecided} {closing}",
        "The first two comparisons are for practice and do not count.",
    ]


def consent(minutes: int) -> list[str]:
    """What a participant agrees to by starting."""
    return [
        f"Taking part takes about {minutes} minutes. You can pause whenever you like: your answers "
        "are kept in this browser, and nowhere else, until you save them to a file yourself.",
        "The file holds your answers, how long each took, and a random code. It holds no name, no "
        "address and nothing else about you. You may stop at any time and delete your answers.",
    ]


def rules(exclusions: Mapping[str, Any]) -> list[str]:
    """The exclusion rules as sentences, in the order in which they are applied."""
    return [
        "Refused, each with its reason: files that are damaged, changed, incomplete or of another "
        "study; a second file of the same participant or form, of which the one finished first "
        "counts.",
        f"Left out: participants who answer less than {100 * exclusions['check_share']:g} % of the "
        "questions at check trials rightly.",
        f"Left out: participants whose answers take less than {exclusions['median_ms']:g} ms in "
        "the median.",
        "Left out: participants who choose the same place in more than "
        f"{100 * exclusions['one_side_share']:g} % of their answers that name an option, when "
        f"there are at least {SIDES_NEEDED}.",
        "Training trials never count; repeated trials count for consistency only.",
    ]


def minutes(questions: int, trials: int) -> int:
    """Minutes a form takes, at 9 s a trial's first question and 5 s each further one."""
    return max(1, round(trials * (9 + 5 * (questions - 1)) / 60))
