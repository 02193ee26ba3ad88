"""`python -m matrix_cli`: the same as `matrix`."""

from matrix_cli.main import main

main()
