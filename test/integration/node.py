"""Nodes written in Python: `Peer` listens and serves scripted methods, `NodeClient` dials a node's listener."""
import socket
import threading
import time

from client import SLOW, Client, wait_until
from wire import CANCEL, EVENT, METHOD_BY_ID, METHODS, N, P, PUSHED, REPLY, REQUEST, STATUS, Splitter, encode, seen


class Arrived:
    """A frame that came to a peer, when and where."""

    def __init__(self, conn, frame):
        self.conn, self.frame, self.at = conn, frame, time.monotonic()
        self.method = METHOD_BY_ID.get(frame.method)   # None: a cancel, which names a call and no method
        self.name = "cancel" if frame.kind == CANCEL else self.method.name

    @property
    def msg(self):
        return self.method.request.FromString(self.frame.payload)

    def reply(self, msg=None, status="OK", retry_after_ms=0, flags=0, payload=None):
        if status != "OK":
            msg = P.Error(detail="the peer says so", retry_after_ms=retry_after_ms)
        elif msg is None:
            msg = self.method.reply()
        self.conn.write(encode(self.frame.method, REPLY, msg.SerializeToString() if payload is None else payload,
                               status=STATUS.index(status), call=self.frame.call, flags=flags))


class PeerConn:
    """One connection that a node made to the peer; a thread reads it."""

    def __init__(self, peer, sock):
        self.peer, self.sock = peer, sock
        self.lock = threading.Lock()
        self.is_open = True
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def write(self, data):
        with self.lock:
            try:
                self.sock.sendall(data)
            except OSError:
                self.is_open = False

    def _run(self):
        splitter = Splitter()
        while True:
            self.peer.reading.wait()
            try:
                data = self.sock.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                break
            for frame in splitter.feed(data):
                self.peer.arrived(self, frame)
        self.is_open = False

    def end(self, deadline=5):
        """Close once the other end has seen that nothing comes any more, and closed too."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        self.thread.join(deadline)
        self.close()

    def close(self, reset=False):
        try:
            if reset:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.sock.shutdown(socket.SHUT_RDWR) if not reset else None
        except OSError:
            pass
        self.sock.close()


class Peer:
    """A node of the cluster. `serve["Send"] = function(arrived)`: the function answers with arrived.reply(...), now or
    later; a method without one is left unanswered. NodeHello and NodePing are answered unless taken over."""

    def __init__(self, rcvbuf=0, port=0):
        self.port = port
        self.reading = threading.Event()
        self.reading.set()
        self.frames = []       # Arrived, all but NodeHello and NodePing
        self.pings = self.hellos = 0
        self.conns = []
        self.serve = {"NodeHello": self._hello, "NodePing": lambda a: a.reply(P.PingReply(nonce=a.msg.nonce))}
        self.rcvbuf = rcvbuf
        # The port stays the peer's while it does not listen: bound, a connection to it is refused.
        self.holder = self._bound()
        self.port = self.holder.getsockname()[1]
        self.listen()

    def _bound(self):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.rcvbuf)
        sock.bind(("127.0.0.1", self.port))
        return sock

    def listen(self):
        self.listener = self._bound()
        self.address = f"127.0.0.1:{self.port}"
        self.listener.listen(64)
        self.accepting = threading.Thread(target=self._accept, args=(self.listener,), daemon=True)
        self.accepting.start()

    def _accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.conns.append(PeerConn(self, sock))

    def refuse(self):
        """Take no more connections, and end those that stand. Afterwards whoever made them knows, and sends nothing on them."""
        self._stop_listening()
        for conn in self.conns:
            conn.end()
        self.conns.clear()

    def _stop_listening(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.accepting.join()

    def drop(self, reset=False):
        for conn in self.conns:
            conn.close(reset)
        self.conns.clear()

    def close(self):
        self.reading.set()
        self._stop_listening()
        self.drop()
        self.holder.close()

    def _hello(self, arrived):
        arrived.reply(N.NodeHelloReply(version=1, address=self.address, epoch=1, nonce=b"n" * 16, proof=b""))

    def arrived(self, conn, frame):
        a = Arrived(conn, frame)
        if a.name == "NodePing":
            self.pings += 1
        elif a.name == "NodeHello":
            self.hellos += 1
        else:
            self.frames.append(a)
        if frame.kind in (REQUEST, EVENT) and a.name in self.serve:
            self.serve[a.name](a)

    # ---- for the tests

    def of(self, name, kind=REQUEST):
        return [a for a in list(self.frames) if a.name == name and a.frame.kind == kind]

    def wait(self, name, n=1, kind=REQUEST, deadline=10):
        """The first n frames of that method, once they are there."""
        wait_until(lambda: len(self.of(name, kind)) >= n, deadline, f"{n} × {name} at the peer")
        return self.of(name, kind)[:n]


class NodeClient(Client):
    """A node that dials another one's listener."""

    def __init__(self, address, hello=True, **kw):
        super().__init__(address, hello=False, **kw)
        if hello:
            self.ok("NodeHello", version=1, address=f"127.0.0.1:{self.sock.getsockname()[1]}", epoch=int(time.time() * 1000),
                    nonce=b"n" * 16)

    def _dispatch(self, frame):
        if frame.kind == REQUEST and frame.method == METHODS["NodePing"].id:
            self.write(encode(frame.method, REPLY, frame.payload, call=frame.call))
        else:
            super()._dispatch(frame)

    def tell(self, name, msg, **kw):
        """Send an event."""
        seen.add((name, "OK"))
        self.write(encode(METHODS[name].id, EVENT, msg.SerializeToString(), **kw))


__all__ = ["Peer", "NodeClient", "CANCEL", "PUSHED", "SLOW"]
