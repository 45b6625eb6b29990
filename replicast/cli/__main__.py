"""`python -m replicast.cli` is the `replicast` command."""

from replicast.cli.main import main

main(prog_name="replicast")
