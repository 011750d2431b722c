"""The subcommands of `pemu-img`: a module for each, whose `run(words)` returns the exit status."""
