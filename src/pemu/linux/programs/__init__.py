"""Programs: the files that they are in, and how they come into memory and start."""
