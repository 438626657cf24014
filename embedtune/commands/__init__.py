"""The `embedtune` command: one module per subcommand."""
