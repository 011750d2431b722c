"""`python -m bench`: programs; `python -m bench machines`: whole machines."""

from __future__ import annotations

import sys

from bench import machines, run

words = sys.argv[1:]
sys.exit(machines.main(words[1:]) if words[:1] == ["machines"] else run.main(words))
