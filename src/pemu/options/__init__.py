"""The option grammar of every Pemu command, and the schemas behind the options."""
