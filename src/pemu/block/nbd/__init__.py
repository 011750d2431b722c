"""The Network Block Device protocol: server and client of exports."""
