"""Work on images that goes on while a guest uses them: commit, stream, mirror, backup."""
