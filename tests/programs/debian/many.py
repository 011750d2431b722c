"""Threads, processes, sockets, signals and late imports."""

import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

with ThreadPoolExecutor(4) as pool:
    print(sum(pool.map(lambda n: n * n, range(101))))

listener = socket.create_server(("127.0.0.1", 0))


def echo() -> None:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(connection.recv(100))


server = threading.Thread(target=echo)
server.start()
with socket.create_connection(listener.getsockname()) as client:
    client.sendall(b"echoed")
    print(client.recv(100))
server.join()

import sqlite3  # noqa: E402

database = sqlite3.connect(":memory:")
print(database.execute("SELECT random() IS NOT NULL").fetchone()[0] == 1)
print(subprocess.run([sys.executable, "-c", "print(2 * 3)"], stdout=subprocess.PIPE).stdout)
signal.signal(signal.SIGTERM, lambda number, frame: print("caught", number))
os.kill(os.getpid(), signal.SIGTERM)
print("done")
