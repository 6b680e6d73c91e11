"""The format of a run's files, as history.h and README.md say it: records, numbers, names."""
import struct

# at_us, target, seq, user, op, refers, id, device, type, what, outcome, status
RECORD = struct.Struct("<7QI4B")
assert RECORD.size == 64

GROUP = 1 << 63
BAD_BODY = (1 << 64) - 1
NEVER = 1 << 62        # a time that does not come

(RUN, USER, DEVICE, OPEN, STATE, SYNCED, CLOSED, CALL, DONE, MESSAGE, PAGE, RECEIPT, MARKS, PHASE) = range(1, 15)
TYPES = ("", "RUN", "USER", "DEVICE", "OPEN", "STATE", "SYNCED", "CLOSED", "CALL", "DONE", "MESSAGE", "PAGE", "RECEIPT", "MARKS", "PHASE")

KEEP, FRESH, NONE = 1, 2, 3
SETUP, LOAD, QUIET, FINAL, END = 1, 2, 3, 4, 5
PHASES = ("", "SETUP", "LOAD", "QUIET", "FINAL", "END")

(REGISTER, LOGIN, SEND, EDIT, RECALL, SIGNAL, MARK_READ, HISTORY, LIST, FRIEND,
 CREATE, JOIN, LEAVE, INVITE, KICK, MUTE, ROLE, DISBAND) = range(1, 19)
WHATS = ("", "register", "login", "send", "edit", "recall", "signal", "mark read", "history", "list", "friend",
         "create group", "join", "leave", "invite", "kick", "mute", "role", "disband")

# Outcomes of an operation; UNENDED is the checker's own: no DONE was recorded.
OK, NOT_DONE, UNSURE, UNENDED = 0, 1, 2, 3
OUTCOMES = ("done", "not done", "unsure", "unended")

TEXT, K_EDIT, K_RECALL, MEMBERSHIP, APPLICATION = 1, 2, 3, 4, 5
KINDS = ("", "text", "edit", "recall", "membership", "application")
CREATED, JOINED, LEFT, KICKED, MUTED, ROLE_SET, TRANSFERRED, UPDATED, DISBANDED = range(1, 10)
CHANGES = ("no change", "created", "joined", "left", "kicked", "muted", "role set", "transferred", "updated", "disbanded")
MEMBER, ADMIN, OWNER = 1, 2, 3
READY = 3
STATES = ("connecting", "waiting", "connected", "ready", "refused")
BLOCK, UNBLOCK = 4, 5


class Broken(Exception):
    """The files are not a run: nothing can be said of it."""


def key_of(user, target):
    """The conversation (hi, lo) that a user's device names by a target."""
    if target & GROUP:
        return target & ~GROUP, 0
    return (target, user) if target > user else (user, target)


def name_of(row, list_):
    return list_[row] if 0 <= row < len(list_) else f"{row}?"


def describe(r, user_of):
    """One record in plain words, without its time."""
    at, target, seq, user, op, refers, ident, device, type_, what, outcome, status = r
    who = f"device {device} of user {user_of.get(device, '?')}" if device else "nobody's device"
    place = f"group {target & ~GROUP}" if target & GROUP else f"chat with {target}"
    if type_ == CALL:
        text = f"calls {name_of(what, WHATS)}, operation {op}" + (f", {place}" if target else "")
        return f"{who} {text}" + (f", of user {user}" if user else "") + (f", refers {refers}" if refers else "") + (f", seq {seq}" if seq else "")
    if type_ == DONE:
        return f"{who} has operation {op} {name_of(outcome, OUTCOMES)}, status {status}" + (f", seq {seq}" if seq else "")
    if type_ in (MESSAGE, PAGE):
        how = "is handed" if type_ == MESSAGE else f"reads (operation {ident})"
        if what == MEMBERSHIP:
            says = f"user {refers} {name_of(outcome, CHANGES)} by {user}"
        else:
            body = "an empty body" if op == 0 else "a damaged body" if op == BAD_BODY else f"the body of operation {op}"
            says = f"{name_of(what, KINDS)} of {user}" + (f" for {refers}" if refers else "") + f" with {body}"
        return f"{who} {how} {place} seq {seq}: {says}"
    if type_ == RECEIPT:
        return f"{who} is told marks of user {user}, {place}: delivered {seq}, read {refers}"
    if type_ == MARKS:
        return f"{who} lists {place} (operation {op}): delivered {seq}, read {refers}, head {ident}"
    if type_ == STATE:
        return f"{who} is {name_of(what, STATES)}"
    if type_ == PHASE:
        return f"phase {name_of(what, PHASES)} begins"
    return f"{who}: {name_of(type_, TYPES)} {op or ''}".rstrip()
