"""`python -m archlang` is `archc`."""

from archlang.cli.main import main

main()
