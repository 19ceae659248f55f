"""`python -m belayed`: the command line, where the script `belayed` is not on the path."""

from belayed.cli import main

main(prog_name="belayed")
