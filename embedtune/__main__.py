"""`python -m embedtune` is the command `embedtune`."""

from embedtune.commands.main import main

main()
