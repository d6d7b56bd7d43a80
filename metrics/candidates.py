"""The captions among which retrieval ranks.

`plain` is the paper's protocol: the prompts themselves, no prefix. `strict` also offers each of
them with each view word, and captions of shapeless things, so that a coloured lump or a second
face is no longer the nearest caption by default; there a hit names object and view.
"""

from collections.abc import Sequence

from metrics.runs import ELEVATION, VIEWS
from prompts.load import load_set
from prompts.views import view_word, with_view


def plain(candidates: str) -> list[str]:
    """The texts of the prompt set named `candidates`, in its order."""
    return [prompt.text for prompt in load_set(candidates).prompts]


def with_front(candidates: str) -> frozenset[str]:
    """The texts of the prompt set that are tagged `directional`: their object has a front."""
    prompts = load_set(candidates).prompts
    return frozenset(prompt.text for prompt in prompts if "directional" in prompt.tags)


def strict(candidates: str, *, view_words: Sequence[str], extra: Sequence[str]) -> list[str]:
    """Every prompt with every view word, then the texts of the prompt sets named in `extra`.

    Without view words there is no strict retrieval, and the list is empty.
    """
    if not view_words:
        return []
    texts = [with_view(text, word) for text in plain(candidates) for word in view_words]
    return texts + [text for name in extra for text in plain(name)]


def strict_target(prompt: str, view: str) -> str:
    """The one caption that is right for `prompt` seen in the evaluated view `view`."""
    return with_view(prompt, view_word(VIEWS[view], ELEVATION))
