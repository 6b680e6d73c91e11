"""A client of one connection, for tests: raw frames, calls that can be waited for later, a list of events.

No threads: a client reads its socket when it waits for something. `call` answers a Reply whatever the status is, `ok`
wants OK and answers the message, `refused` wants a certain status.
"""
import itertools
import os
import random
import select
import socket
import time

from wire import (CANCEL, EVENT, METHOD_BY_ID, METHODS, P, REPLY, REQUEST, STATUS, Splitter, encode, seen, xor)

SLOW = float(os.environ.get("BYTETALK_SLOW", "1"))  # what deadlines are multiplied with (sanitizers)
_last_id = itertools.count(int(time.time() * 1000) << 22 | random.getrandbits(20))


def msg_id():
    """A client_msg_id: milliseconds in the high 42 bits, rising."""
    return next(_last_id)


def wait_until(cond, deadline=10, what=None):
    """Call cond until it answers something true, and answer that; fail after `deadline` seconds."""
    end = time.monotonic() + deadline * SLOW
    while True:
        value = cond()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"after {deadline} s still not: {what() if callable(what) else what or cond}")
        select.select([], [], [], 0.005)


class Closed(Exception):
    """The server closed the connection."""


class Reply:
    def __init__(self, method, frame):
        self.method, self.frame = method, frame
        self.status = STATUS[frame.status]
        self.msg = (method.reply if frame.status == 0 else P.Error).FromString(frame.payload)

    def __repr__(self):
        return f"<{self.method.name} {self.status} {str(self.msg).strip()!r}>"


class Call:
    """A call under way; `reply` is there once it was answered."""

    def __init__(self, method, number):
        self.method, self.number, self.reply = method, number, None
        self.started = time.monotonic()


class Client:
    def __init__(self, address, *, layer=False, hello=True, rcvbuf=0):
        host, port = address.rsplit(":", 1)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(5 * SLOW)
        self.sock.connect((host, int(port)))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.address, self.layer = address, layer
        self.splitter = Splitter()
        self.calls = {}        # number -> Call, those not answered yet
        self.numbers = itertools.count(1)
        self.events = []       # (name, message), in the order in which they came
        self.strays = []       # frames that answered no open call
        self.is_closed = False
        self.user_id = self.session_id = 0
        self.name = self.password = self.token = None
        if hello:
            self.hello = self.ok("Hello", version=1, client="pytest")

    # ---- bytes and frames

    def write(self, data):
        """All of it, reading meanwhile, so that neither side waits for the other."""
        view = memoryview(xor(data) if self.layer else data)
        end = time.monotonic() + 20 * SLOW
        while view:
            try:
                view = view[self.sock.send(view):]
            except BlockingIOError:
                if time.monotonic() > end:
                    raise AssertionError("the server takes no more bytes") from None
                select.select([self.sock], [self.sock], [], 1)
                self.pump(0)
            except (ConnectionError, OSError):
                self.drain()
                raise Closed from None

    def pump(self, timeout=0.0):
        """Read what is there, waiting for the first byte at most `timeout` seconds. True when something came."""
        if self.is_closed:
            return False
        if not select_one(self.sock, timeout):
            return False
        try:
            data = self.sock.recv(1 << 18)
        except BlockingIOError:
            return False
        except (ConnectionError, OSError):
            data = b""
        if not data:
            self.is_closed = True
            return False
        for frame in self.splitter.feed(xor(data) if self.layer else data):
            self._dispatch(frame)
        return True

    def drain(self):
        """Read what the connection still has to say until it is empty or at its end."""
        while self.pump(0):
            pass

    def _dispatch(self, frame):
        method = METHOD_BY_ID.get(frame.method)
        if frame.kind == EVENT:
            self.events.append((method.name, method.request.FromString(frame.payload)))
            seen.add((method.name, "OK"))
        elif frame.kind == REPLY and frame.call in self.calls:
            call = self.calls.pop(frame.call)
            call.reply = Reply(call.method, frame)
            seen.add((call.method.name, call.reply.status))
        else:
            self.strays.append(frame)

    # ---- calls

    def start(self, name, /, *, target=0, timeout_ms=10000, flags=0, payload=None, call=None, caller=0, session=0, trace=0,
              write=True, **fields):
        """Send a request and answer its Call; `write=False` answers (Call, bytes) and leaves the sending to the caller."""
        method = METHODS[name]
        if payload is None:
            payload = method.request(**fields).SerializeToString()
        number = call if call is not None else next(self.numbers)
        made = Call(method, number)
        data = encode(method.id, REQUEST, payload, flags=flags, call=number, timeout_ms=int(timeout_ms * SLOW),
                      target=target, caller=caller, session=session, trace=trace)
        self.calls[number] = made
        if not write:
            return made, data
        self.write(data)
        return made

    def cancel(self, call):
        self.write(encode(call.method.id, CANCEL, call=call.number))

    def wait(self, call, deadline=15):
        end = time.monotonic() + deadline * SLOW
        while call.reply is None:
            left = end - time.monotonic()
            if left <= 0:
                raise AssertionError(f"no answer to {call.method.name} in {deadline} s")
            if not self.pump(min(left, 0.5)) and self.is_closed and call.reply is None:
                raise Closed(f"closed instead of answering {call.method.name}")
        return call.reply

    def call(self, name, /, **kw):
        return self.wait(self.start(name, **kw))

    def ok(self, name, /, **kw):
        reply = self.call(name, **kw)
        assert reply.status == "OK", f"{name} {short(kw)}: {reply}"
        return reply.msg

    def refused(self, status, name, /, **kw):
        reply = self.call(name, **kw)
        assert reply.status == status, f"{name} {short(kw)}: wanted {status}, got {reply}"
        assert reply.msg.detail and len(reply.msg.detail.encode()) <= 256, f"{reply} says nothing"
        return reply.msg

    # ---- events

    def event(self, name, pred=None, deadline=10):
        """Take the first event of that name that pred likes off the list, waiting for it."""
        def take():
            for i, (n, msg) in enumerate(self.events):
                if n == name and (pred is None or pred(msg)):
                    del self.events[i]
                    return msg
            return None
        end = time.monotonic() + deadline * SLOW
        while True:
            msg = take()
            if msg is not None:
                return msg
            if self.is_closed or time.monotonic() > end:
                raise AssertionError(f"no {name} {'before the end' if self.is_closed else f'in {deadline} s'}; "
                                     f"there was {short(self.events)}")
            self.pump(0.2)

    def settle(self):
        """All that the server sent before it answers this is here when it returns."""
        self.ok("Ping", nonce=7)

    def no_event(self, name, pred=None):
        """Nothing like that has come. Only meaningful after something that would have come later."""
        self.settle()
        assert not [m for n, m in self.events if n == name and (pred is None or pred(m))]

    def wait_closed(self, deadline=10):
        end = time.monotonic() + deadline * SLOW
        while not self.is_closed:
            assert time.monotonic() < end, f"not closed within {deadline} s"
            self.pump(0.2)

    def close(self, reset=False):
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()
        self.is_closed = True

    # ---- what most tests begin with

    def register(self, name, password="correct horse"):
        return self.ok("Register", name=name, password=password).user_id

    def login(self, name, password="correct horse", device_id=0, device="test"):
        reply = self.ok("Login", name=name, password=password, device_id=device_id, device=device)
        return self._bound(reply, password)

    def resume(self, token):
        return self._bound(self.ok("Resume", token=token), self.password)

    def _bound(self, reply, password):
        self.user_id, self.session_id, self.token = reply.user_id, reply.session_id, reply.token
        self.name, self.password = reply.name, password
        return reply

    def send(self, target, body, **kw):
        """Write one message and answer its seq."""
        if isinstance(body, str):
            body = body.encode()
        kw.setdefault("client_msg_id", msg_id())
        return self.ok("Send", target=target, body=body, **kw).seq


def short(value):
    text = repr(value)
    return text if len(text) <= 400 else text[:400] + "…"


def select_one(sock, timeout):
    poll = select.poll()   # select() stops at descriptor 1023
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(int(timeout * 1000)))
