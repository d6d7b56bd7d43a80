"""What one step of the optimisation leaves in the trace."""

from torch import Tensor

from methods import distill
from pipeline import trace
from pipeline.predictions import Seen, predict


def traced(
    step: int,
    spec: dict[str, int],
    predictions: dict[str, Tensor],
    direction: Tensor,
    weight: Tensor,
    losses: dict[str, Tensor],
    seen: Seen,
    x_t: Tensor,
    t: Tensor,
) -> list[trace.Row]:
    """This step's rows, every `every` steps; at `extra_every` also terms the method lacks."""
    if step % spec["every"]:
        return []
    guidance = seen.guidance
    if spec["extra_every"] and step % spec["extra_every"] == 0:
        missing = [n for n in (distill.TEXT, distill.UNCOND, distill.NEG) if n not in predictions]
        noise = predictions[distill.NOISE]
        predictions = predict(missing, seen, x_t, t, noise, particle=None) | predictions
    rows = trace.step_rows(step, t, weight, predictions, direction)
    if hasattr(guidance, "posterior"):  # only an exact prior knows it
        values = guidance.posterior(x_t, t, seen.conditions.text(seen.cameras), seen.view)
        rows += trace.value_rows(step, t, "posterior", values.tolist())
    return rows + trace.loss_rows(step, losses)
