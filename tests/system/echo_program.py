"""Asks another node and answers it: `serve`, or `ask HOST`, which prints the median round trip in seconds."""

import socket
import statistics
import sys
import time

PORT = 18311


def serve() -> None:
    with socket.create_server(("", PORT)) as server:
        connection, _ = server.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := connection.recv(64):
            connection.sendall(data)


def ask(host: str) -> None:
    for _ in range(100):
        try:
            connection = socket.create_connection((host, PORT), timeout=5)
            break
        except OSError:
            time.sleep(0.05)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    times = []
    for _ in range(30):
        start = time.perf_counter()
        connection.sendall(b"x")
        connection.recv(64)
        times.append(time.perf_counter() - start)
    print(statistics.median(times))


if __name__ == "__main__":
    serve() if sys.argv[1] == "serve" else ask(sys.argv[2])
