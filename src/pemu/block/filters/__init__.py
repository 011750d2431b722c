"""Nodes that stand before another image and change what its users see."""
