"""What the tests of the commands and of the Python interface share."""

import shutil

import pytest

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")

NET = """\
network Net(classes: int = 3, width: int = 8) {
  input x: [B, D=4]
  hidden = x -> fc: linear(width) -> relu
  output hidden -> head: linear(classes)
}
"""
