"""How a running guest is watched and controlled from outside."""
