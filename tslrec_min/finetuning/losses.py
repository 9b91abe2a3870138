"""Losses of the preference head against users' distributions over latent categories."""

from __future__ import annotations

import torch
from torch.nn import functional as F

_MIN_PREFERENCE = 1e-6  # so that a category that no training user has doesn't make a loss infinite


def preference_loss(outputs: torch.Tensor, preferences: torch.Tensor, name: str) -> torch.Tensor:
    """Loss of the linear head against preference distributions, one value per user.

    Args:
        outputs: float [B, K], the head's outputs: the distribution itself for ``mse``, logits otherwise.
        preferences: float [B, K], rows sum to 1.
        name: ``mse``: mean over the K categories of the squared error, what the accessible description of
            TSLRec (arXiv 2406.00333) reports; ``ce``: cross-entropy with soft targets after softmax;
            ``kl``: the same less the targets' entropy, so that 0 is perfect.

    Returns:
        float [B].
    """
    if name == "mse":
        return (outputs - preferences).square().mean(dim=1)
    cross_entropy = -(preferences * F.log_softmax(outputs, dim=1)).sum(dim=1)
    if name == "ce":
        return cross_entropy
    return cross_entropy + torch.xlogy(preferences, preferences).sum(dim=1)


def constant_loss(preferences: torch.Tensor, mean_preference: torch.Tensor, name: str) -> torch.Tensor:
    """Return the `preference_loss` of the constant predictor, float [B].

    Args:
        preferences: targets, float [B, K].
        mean_preference: prediction for every user, float [K].
        name: of the loss.
    """
    return preference_loss(constant_outputs(mean_preference, name).expand_as(preferences), preferences, name)


def constant_outputs(preference: torch.Tensor, name: str) -> torch.Tensor:
    """Return the head's outputs, float [K], that predict `preference`, float [K]: itself for ``mse``, else logits."""
    return preference if name == "mse" else preference.clamp_min(_MIN_PREFERENCE).log()
