"""Games: discriminators and generators that learn in turns."""

from .loop import DISCRIMINATOR, GENERATOR, SIDES, GameSteps
from .measure import both_sides, measure_game
from .pool import Pools

__all__ = ["DISCRIMINATOR", "GENERATOR", "SIDES", "GameSteps", "Pools", "both_sides", "measure_game"]
