"""The commands of `pemu-io`, and the shell that runs them."""
