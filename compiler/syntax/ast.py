"""The syntax tree: frozen nodes, each with the span it was read from.

Spans never take part in comparison, so `parse(print(tree)) == tree` is a statement about meaning.
Nodes below an arrow are stages (`Stage`); everything else that has a value is an expression (`Expr`).
"""

from .statements import *  # noqa: F403
from .terms import *  # noqa: F403
