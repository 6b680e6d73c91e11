"""A load balancer in front says who really connects; whoever is not trusted says nothing."""
import socket
import struct

import pytest

from client import Client

V2 = b"\r\n\r\n\0\r\nQUIT\n"
HEADERS = {
    "v1 IPv4": (b"PROXY TCP4 203.0.113.7 127.0.0.1 5555 7400\r\n", "203.0.113.7:5555"),
    "v1 IPv6": (b"PROXY TCP6 2001:db8::7 ::1 5555 7400\r\n", "[2001:db8::7]:5555"),
    "v1 unknown": (b"PROXY UNKNOWN\r\n", "127.0.0.1:"),
    "v2 IPv4": (V2 + b"\x21\x11" + struct.pack(">H", 12) + socket.inet_aton("203.0.113.8") + socket.inet_aton("127.0.0.1")
                + struct.pack(">HH", 6666, 7400), "203.0.113.8:6666"),
    "v2 IPv4 with extensions": (V2 + b"\x21\x11" + struct.pack(">H", 20) + socket.inet_aton("203.0.113.9") + socket.inet_aton("127.0.0.1")
                                + struct.pack(">HH", 6667, 7400) + b"\x04\0\x05hello", "203.0.113.9:6667"),
    "v2 local": (V2 + b"\x20\0" + struct.pack(">H", 0), "127.0.0.1:"),
    "none": (b"", "127.0.0.1:"),
}
BAD = {
    "words": b"PROXY TCP4 203.0.113.7 127.0.0.1\r\n",
    "address": b"PROXY TCP4 203.0.113.777 127.0.0.1 5555 7400\r\n",
    "port": b"PROXY TCP4 203.0.113.7 127.0.0.1 99999 7400\r\n",
    "no end": b"PROXY TCP4 " + b"1" * 200,
    "v2 command": V2 + b"\x25\x11" + struct.pack(">H", 12) + bytes(12),
    "v2 length": V2 + b"\x21\x11" + struct.pack(">H", 60000) + bytes(600),
    "v2 short": V2 + b"\x21\x11" + struct.pack(">H", 4) + bytes(4),
}


@pytest.fixture
def behind(make_server):
    return make_server({"proxy.trusted": "10.0.0.0/8, 127.0.0.1", "log.level": "debug"}, mode="direct")


def hello(c):
    return c.ok("Hello", version=1, client="test")


@pytest.mark.parametrize("piece", [1, 7, 1000])
@pytest.mark.parametrize("header", HEADERS)
def test_the_header_names_the_client(behind, header, piece):
    data, peer = HEADERS[header]
    c = Client(behind.clients, layer=behind.layer, hello=False)
    call, frame = c.start("Hello", version=1, client="test", write=False)
    data += frame
    for i in range(0, len(data), piece):
        c.write(data[i:i + piece])
    assert c.wait(call).status == "OK"
    c.close()
    behind.wait_log(rf"client \d+ {peer.replace('[', chr(92) + '[').replace(']', chr(92) + ']')}")


@pytest.mark.parametrize("header", BAD)
def test_a_bad_header_closes(behind, header):
    c = Client(behind.clients, layer=behind.layer, hello=False)
    c.write(BAD[header])
    c.wait_closed()
    hello(Client(behind.clients, layer=behind.layer, hello=False))


def test_a_stranger_is_not_believed(make_server):
    server = make_server({"proxy.trusted": "10.0.0.0/8"})
    c = Client(server.clients, layer=server.layer, hello=False)
    c.write(HEADERS["v1 IPv4"][0])
    c.wait_closed()


@pytest.mark.parametrize("trusted", ["localhost", "10.0.0.0/33", "10.0.0.0/", "1.2.3", "::1/129", "10.0.0.0/x"])
def test_a_bad_list_stops_the_start(make_server, trusted):
    server = make_server({"proxy.trusted": trusted}, start=False)
    done = server.run()
    assert done.returncode != 0 and "[proxy] trusted" in done.stderr


def test_a_frame_without_room_for_a_body_stops_the_start(make_server):
    server = make_server({"chat.body_max": "200000"}, start=False)
    done = server.run()
    assert done.returncode != 0 and "[proxy] max_frame_bytes = 131072 has no room for [chat] body_max = 200000" in done.stderr
