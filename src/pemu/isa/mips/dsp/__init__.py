"""The DSP extension, revisions 1 and 2, for registers of 32 and 64 bits."""
