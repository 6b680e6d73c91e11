"""Asks nodes what an operator may ask, with the proof that nodes give: who is called how much, and who owns what."""
import hashlib
import hmac
import os
import struct
import time

from client import Closed
from node import NodeClient


class Asker(NodeClient):
    """A guest at one node's listener."""

    def __init__(self, address, secret):
        super().__init__(address, hello=False)
        own, epoch, nonce = f"127.0.0.1:{self.sock.getsockname()[1]}", int(time.time() * 1000), os.urandom(32)
        call = self.start("NodeHello", version=1, address=own, epoch=epoch, nonce=nonce, is_guest=True)
        theirs = self.wait(call, 1).msg
        mac = hmac.new(secret, b"bytetalk node dialler 1".ljust(24, b"\0"), hashlib.sha256)
        for n, e, address in ((nonce, epoch, own), (theirs.nonce, theirs.epoch, theirs.address)):
            mac.update(n + struct.pack(">QQ", e, len(address)) + address.encode())
        assert self.wait(self.start("NodeProve", proof=mac.digest()), 1).status == "OK"

    def nodes(self):
        reply = self.wait(self.start("AdminNodes"), 1)
        return list(reply.msg.nodes) if reply.status == "OK" else []

    def owner(self, hi, lo):
        """The address of the node that owns the conversation: of those on the ring the first that is not passed over."""
        reply = self.wait(self.start("AdminOwner", hi=hi, lo=lo), 1)
        return next((n.address for n in reply.msg.nodes if not n.is_passed_over), None) if reply.status == "OK" else None


class Askers:
    """One for each of some nodes, made when there is need; a node that does not answer is left out."""

    def __init__(self, secret):
        self.secret, self.open = secret, {}

    def nodes(self, node):
        """What a node tells of the nodes that it knows; empty when it does not answer."""
        return self._ask(node, lambda a: a.nodes()) or []

    def owner(self, node, hi, lo):
        return self._ask(node, lambda a: a.owner(hi, lo))

    def _ask(self, node, question):
        key = (node.name, node.starts)
        try:
            if key not in self.open:
                self.open[key] = Asker(f"{node.host.address}:{node.port}", self.secret)
            return question(self.open[key])
        except (Closed, OSError, AssertionError, AttributeError):
            asker = self.open.pop(key, None)
            if asker:
                asker.close()
            return None

    def close(self):
        for asker in self.open.values():
            asker.close()
        self.open.clear()
