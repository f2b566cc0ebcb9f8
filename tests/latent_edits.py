"""Variational autoencoders changed on purpose: what is replaced by what, so that a latent is smooth no longer."""

from __future__ import annotations

DRAWN = "mean + (0.5 * log_variance -> exp) * eps"
NOISE = "sample eps ~ normal(0, 1)"
DIVERGENCE = "(mean, log_variance) -> kl_standard_normal"

BREAK = (
    ("no noise", DRAWN, "mean + (0.5 * log_variance -> exp)"),
    ("noise of a fixed size", DRAWN, "mean + 0.1 * eps"),
    ("noise around nothing", DRAWN, "(0.5 * log_variance -> exp) * eps"),
    ("noise that multiplies the mean", DRAWN, "mean * (0.5 * log_variance -> exp) * eps"),
    ("all of the log-variance", DRAWN, "mean + (log_variance -> exp) * eps"),
    ("no exponential", DRAWN, "mean + log_variance * eps"),
    ("a deviation by softplus", DRAWN, "mean + (log_variance -> softplus) * eps"),
    ("noise divided by the deviation", DRAWN, "mean + eps / (0.5 * log_variance -> exp)"),
    ("the deviation divided by noise", DRAWN, "mean + (0.5 * log_variance -> exp) / eps"),
    ("noise squared", DRAWN, "mean + (0.5 * log_variance -> exp) * eps * eps"),
    ("twice the mean", DRAWN, "2 * mean + (0.5 * log_variance -> exp) * eps"),
    ("a shift of the mean", DRAWN, "mean + 1 + (0.5 * log_variance -> exp) * eps"),
    ("the mean in place of the deviation", DRAWN, "log_variance + (0.5 * mean -> exp) * eps"),
    ("flat noise", NOISE, "sample eps ~ uniform(-1, 1)"),
    ("wider noise", NOISE, "sample eps ~ normal(0, 2)"),
    ("noise around another number", NOISE, "sample eps ~ normal(1, 1)"),
    ("no divergence", DIVERGENCE, "(mean, log_variance) -> mse"),
    ("the deviation's logarithm", DIVERGENCE, "(mean, 0.5 * log_variance) -> kl_standard_normal"),
    ("the variance itself", DIVERGENCE, "(mean, log_variance -> exp) -> kl_standard_normal"),
    ("the wrong way round", DIVERGENCE, "(log_variance, mean) -> kl_standard_normal"),
    ("a mean that learns nothing", DIVERGENCE, "(mean -> stop_gradient, log_variance) -> kl_standard_normal"),
    ("a variance that learns nothing", DIVERGENCE, "(mean, log_variance -> stop_gradient) -> kl_standard_normal"),
    ("the prior first", DIVERGENCE, "(0 * mean, 0 * mean, mean, log_variance) -> kl_normal"),
    ("no weight", DIVERGENCE, "0 * ((mean, log_variance) -> kl_standard_normal)"),
    ("a weight below zero", DIVERGENCE, "-1 * ((mean, log_variance) -> kl_standard_normal)"),
    ("a square", DIVERGENCE, "(mean, log_variance) -> kl_standard_normal -> square"),
)
KEEP = (
    ("the root of the variance", DRAWN, "mean + (log_variance -> exp -> sqrt) * eps"),
    ("a power of the variance", DRAWN, "mean + (log_variance -> exp) ** 0.5 * eps"),
    ("one over a root", DRAWN, "mean + (-log_variance -> exp -> rsqrt) * eps"),
    ("a product of two roots", DRAWN, "mean + (log_variance / 4 -> exp) * eps * (log_variance / 4 -> exp)"),
    ("noise first", DRAWN, "eps * (0.5 * log_variance -> exp) + mean"),
    ("noise taken off", DRAWN, "mean - (0.5 * log_variance -> exp) * eps"),
    ("divided by the inverse", DRAWN, "mean + eps / (-0.5 * log_variance -> exp)"),
    ("twice as much, halved", DRAWN, "mean + (0.5 * log_variance -> exp) * (2 * eps) / 2"),
    ("moved there and back", DRAWN, "(mean + (0.5 * log_variance -> exp) * eps -> unsqueeze(1)) -> squeeze(1)"),
    ("another prior", DIVERGENCE, "(mean, log_variance, 0 * mean + 1, 0 * mean) -> kl_normal"),
    ("a mean of all numbers", DIVERGENCE, '(mean, log_variance) -> kl_standard_normal(reduction="mean")'),
    ("a mean taken apart", DIVERGENCE, '(mean, log_variance) -> kl_standard_normal(reduction="none") -> mean'),
    ("half the weight", DIVERGENCE, "0.5 * ((mean, log_variance) -> kl_standard_normal)"),
    ("beside another term", DIVERGENCE, "(mean -> abs -> mean) + ((mean, log_variance) -> kl_standard_normal)"),
)
