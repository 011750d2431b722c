"""What a kernel sees of a processor beside what programs do: coprocessor 0.

Its registers, the TLB, exceptions and interrupts, the timer, and the privileged instructions.
"""
