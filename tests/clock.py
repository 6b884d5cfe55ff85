"""A clock that stands still, and an operation that takes its time forward and backward."""

import torch


class Clock:
    """Stands still until something takes its time."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now


class Take(torch.autograd.Function):
    """Takes `seconds` of the clock forward and `back` in the backward pass."""

    @staticmethod
    def forward(ctx, x, clock, seconds, back):
        ctx.clock, ctx.back = clock, back
        clock.now += seconds
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        ctx.clock.now += ctx.back
        return gradient.clone(), None, None, None
