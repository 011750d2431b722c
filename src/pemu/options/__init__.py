"""The option grammar that every Pemu command shares, and the schemas behind the options.

- `pemu.options.command`: a command line as one table of options (`-opt value`, `--opt=value`).
- `pemu.options.keyval`: comma lists (`user,id=n0,dns.port=53`) with typed keys.
- `pemu.options.types`: what a single value may be: a size, an integer, on/off, one of some names.
- `pemu.options.error`: how a user's mistake is worded.
- `pemu.options.usage`: the table of options in `-h`; imported only when that is asked for.

A schema is declared once. Parsing, error messages with the nearest valid name, help texts and the
way back from values to an equal command line all derive from it.
"""
