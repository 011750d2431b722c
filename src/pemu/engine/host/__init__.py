"""The host that Pemu runs on: its processor and what it asks of the host's kernel.

What another host would need anew stands in `x86_64`; the rest is Linux's.
"""
