"""The relay that makes links slow: a fault has to be over when it is said to be."""
import os
import socket
import subprocess
import time

BYTES = 300_000
RELAY = os.path.join(os.environ["BYTETALK_BUILD"], "test", "chaos-relay")


def test_a_road_that_is_well_again_holds_nothing_back():
    with socket.create_server(("127.0.0.1", 0)) as behind, socket.create_server(("127.0.0.1", 0)) as place:
        port = place.getsockname()[1]
        place.close()
        relay = subprocess.Popen([RELAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        try:
            relay.stdin.write(f"listen road 127.0.0.1 {port} 127.0.0.1 {behind.getsockname()[1]}\n")
            assert relay.stdout.readline() == "listening road\n"
            relay.stdin.write("set road 0 0 10000\n")   # what follows would take 30 s
            with socket.create_connection(("127.0.0.1", port)) as near, behind.accept()[0] as far:
                far.settimeout(20)
                near.sendall(bytes(BYTES))
                far.settimeout(0.5)
                got = receive(far, BYTES, until=time.monotonic() + 1)
                assert got < BYTES / 2
                relay.stdin.write("set road 0 0 0\n")
                start = time.monotonic()
                got += receive(far, BYTES - got, until=start + 10)
                assert got == BYTES and time.monotonic() - start < 3
        finally:
            relay.kill()
            relay.wait()


def receive(sock, most, until):
    got = 0
    while got < most and time.monotonic() < until:
        try:
            got += len(sock.recv(most - got))
        except TimeoutError:
            pass
    return got
