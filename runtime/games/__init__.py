"""Games: discriminators and generators that learn in turns."""

from .loop import DISCRIMINATOR, GENERATOR, GameSteps
from .measure import measure_game
from .pool import Pools

__all__ = ["DISCRIMINATOR", "GENERATOR", "GameSteps", "Pools", "measure_game"]
