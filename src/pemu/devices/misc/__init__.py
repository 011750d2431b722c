"""What boards have of their own."""
