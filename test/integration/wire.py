"""The wire, written anew from docs/PROTOCOL.md: frames by struct, messages by protoc and the stock protobuf library.

Nothing here comes from the server's sources but the .proto files, so that a misreading is not shared. The Python modules
are made from them at import, in a directory that is gone at exit.
"""
import atexit
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections import namedtuple

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


def _compile():
    out = tempfile.mkdtemp(prefix="bytetalk-proto-")
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    # google/protobuf/descriptor.proto comes with libprotobuf-dev, or with nanopb.
    places = [d for d in ("/usr/include", "/usr/lib/python3/dist-packages/proto")
              if os.path.exists(os.path.join(d, "google/protobuf/descriptor.proto"))]
    subprocess.run(["protoc", "-I", os.path.join(ROOT, "proto"), *(f"-I{d}" for d in places[:1]), "--python_out", out,
                    "options.proto", "client.proto", "node.proto"], check=True)
    sys.path.insert(0, out)


_compile()
import client_pb2 as P  # noqa: E402  (made by _compile)
import node_pb2 as N    # noqa: E402
import options_pb2      # noqa: E402

HEADER = struct.Struct(">IHBBIIQQQQ")
LENGTH = struct.Struct(">I")
assert HEADER.size == 48

REQUEST, REPLY, EVENT, CANCEL = 1, 2, 3, 4
RESEND, PUSHED = 0x10, 0x20
GROUP = 1 << 63
STATUS = ["OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
          "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
          "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"]
NOT_DONE = {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED"}
PERHAPS = {"UNKNOWN", "DEADLINE_EXCEEDED"}

Frame = namedtuple("Frame", "method kind flags status call timeout_ms caller target session trace payload")
Method = namedtuple("Method", "name id service role access repeat event request reply refusals")


def encode(method, kind, payload=b"", *, flags=0, status=0, call=0, timeout_ms=0, caller=0, target=0, session=0, trace=0):
    return HEADER.pack(44 + len(payload), method, kind | flags, status, call, timeout_ms, caller, target, session,
                       trace) + payload


class Splitter:
    """Bytes in, frames out."""

    def __init__(self):
        self.buf = bytearray()

    def feed(self, data):
        self.buf += data
        frames, at = [], 0
        while len(self.buf) - at >= 4:
            length, = LENGTH.unpack_from(self.buf, at)
            assert length >= 44, f"the server sent a frame of {length} bytes"
            if len(self.buf) - at < 4 + length:
                break
            _, method, kind, status, *rest = HEADER.unpack_from(self.buf, at)
            frames.append(Frame(method, kind & 15, kind & 0xf0, status, *rest, bytes(self.buf[at + 48:at + 4 + length])))
            at += 4 + length
        del self.buf[:at]
        return frames


def _refusals(path):
    """{method: statuses} from the comment above each rpc: lines like `//   NOT_FOUND   why`, or `A, B, C as …`."""
    found, pending = {}, []
    for line in open(path, encoding="utf-8"):
        comment = re.match(r"\s*//(.*)", line)
        rpc = re.match(r"\s*rpc (\w+)\(", line)
        if comment:
            names = re.match(r"   ((?:[A-Z_]{5,}(?:, )?)+) ", comment.group(1))
            pending += [n for n in re.split(r", ", names.group(1)) if n in STATUS] if names else []
        elif rpc:
            found[rpc.group(1)], pending = pending, []
        else:
            pending = []
    return found


def _methods():
    by_name = {}
    for module, name in ((P, "client.proto"), (N, "node.proto")):
        refusals = _refusals(os.path.join(ROOT, "proto", name))
        for service in module.DESCRIPTOR.services_by_name.values():
            for m in service.methods:
                o = m.GetOptions().Extensions[options_pb2.method]
                by_name[m.name] = Method(m.name, o.id, service.name, options_pb2.Role.Name(o.role),
                                         options_pb2.Access.Name(o.access), options_pb2.Repeat.Name(o.repeat), o.event,
                                         getattr(P, m.input_type.name, None) or getattr(N, m.input_type.name),
                                         getattr(P, m.output_type.name, None) or getattr(N, m.output_type.name),
                                         refusals[m.name])
    return by_name


METHODS = _methods()
METHOD_BY_ID = {m.id: m for m in METHODS.values()}
CLIENT_CALLS = [m for m in METHODS.values() if m.access != "NODE" and not m.event]
SESSION_CALLS = [m for m in CLIENT_CALLS if m.access == "SESSION"]

# Every (method, status) that came back from a server in this run, and (event, "OK"): what test_coverage.py looks at.
seen = set()


def key_of(caller, target):
    """The conversation that caller and target are about: (hi, lo)."""
    if target & GROUP:
        return target & ~GROUP, 0
    return max(caller, target), min(caller, target)


def xor(data):
    """What the test layer does to every byte, in both directions."""
    return bytes(data).translate(_XOR)


_XOR = bytes(i ^ 0x5a for i in range(256))
