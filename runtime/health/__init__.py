"""How a run is while it trains: gradients, dead units, latents, games; and where a run that failed did so."""

from .alarms import Alarms
from .blame import Fault
from .faults import Diverged, alone, explained
from .health import Health, Watched
from .replay import CarefulSteps, Spoilt, measured_fault

__all__ = [
    "Alarms",
    "CarefulSteps",
    "Diverged",
    "Fault",
    "Health",
    "Spoilt",
    "Watched",
    "alone",
    "explained",
    "measured_fault",
]
