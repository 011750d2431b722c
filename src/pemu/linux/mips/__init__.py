"""What is specific to the MIPS ABIs of Linux: numbers, constants, layouts."""
