"""Native functions of whole processors: the soft TLB, and all that goes by privileged registers."""
