"""USB: the bus, and its host controllers."""
