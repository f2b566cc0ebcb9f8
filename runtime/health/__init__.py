"""How a run is while it trains: gradients, dead units, latents, games; and where a run that failed did so."""

from .health import Health, Watched
from .replay import CarefulSteps, Spoilt, measured_fault

__all__ = ["CarefulSteps", "Health", "Spoilt", "Watched", "measured_fault"]
