"""Guest memory as Python sees it: of programs (`process`), of machines (`machine`)."""
