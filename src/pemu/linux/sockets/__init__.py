"""What sockets carry that differs between guest and host: addresses, options, control messages."""
