"""Settings for the whole test suite."""

from hypothesis import settings

# Compilation makes the first example of many tests slow, so no deadline; a failing example's
# blob is printed, so that the run can be repeated on another machine.
settings.register_profile("pemu", deadline=None, print_blob=True)
settings.load_profile("pemu")
