"""Score distillation for any diffusion model: directions, w(t), schedules, Perp-Neg; torch only.

One step of CSD on an image tensor `x` with a network `eps(x_t, t, condition)` of your own:

    >>> import torch
    >>> from methods import distill, schedules, weights
    >>> alphas_cumprod = torch.linspace(1 - 1e-4, 1e-3, 1000)
    >>> eps = lambda x_t, t, condition: condition - x_t  # your network, without gradient
    >>> conditions = {distill.TEXT: 1.0, distill.UNCOND: 0.0}
    >>> generator = torch.Generator().manual_seed(0)
    >>> x = torch.zeros(2, 3, 8, 8, requires_grad=True)

    >>> low, high = schedules.t_range(0, 1000, low=0.02, high=[0.98, 0.5, 500])
    >>> t = schedules.sample_t(generator, low, high, batch=2)
    >>> noise = torch.randn(x.shape, generator=generator)
    >>> with torch.no_grad():
    ...     x_t = distill.diffused(x, noise, alphas_cumprod, t)
    ...     row = distill.METHODS["csd"].make()(0, t)
    ...     named = {name: eps(x_t, t, conditions[name]) for name in distill.needed(row)}
    ...     direction = distill.direction(row, named | {distill.NOISE: noise})
    ...     w = weights.WEIGHTS["uniform"](alphas_cumprod, t)
    >>> distill.surrogate(x, w[:, None, None, None] * direction).backward()
    >>> torch.allclose(x.grad, torch.tensor(0.5))  # (text - uncond) / batch
    True
"""
