"""`python -m bench`: programs; `bench machines`: whole machines; `bench images`: disk images."""

from __future__ import annotations

import sys

from bench import images, machines, run

words = sys.argv[1:]
if words[:1] == ["machines"]:
    sys.exit(machines.main(words[1:]))
if words[:1] == ["images"]:
    sys.exit(images.main(words[1:]))
sys.exit(run.main(words))
