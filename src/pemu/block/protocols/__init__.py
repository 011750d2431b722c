"""Where images are kept: files, servers, nothing at all; one file each."""
