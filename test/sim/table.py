"""Tables in Markdown, and figures that people read."""


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(c) for c in row) + " |" for row in rows])


def parse(text):
    """The rows of a table, without its head; cells as text."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip().startswith("|")]
    return [[c.strip() for c in line.strip("|").split("|")] for line in lines[2:]]


def short(value):
    """Two or three digits that matter: 0.25, 7.1, 83, 1200, 12 k, 3.4 M, 1.2 G."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= limit:
            scaled = value / {" G": 1e9, " M": 1e6, " k": 1e3}[unit]
            return (f"{scaled:.0f}" if scaled >= 100 else f"{scaled:.2g}") + unit
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.2g}"


def size(count):
    """Bytes."""
    for limit, unit in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= limit:
            return f"{count / limit:.3g} {unit}"
    return f"{count:.0f} B"


def span(seconds):
    """A time."""
    for limit, divisor, unit in ((7200, 3600, "h"), (120, 60, "min"), (1, 1, "s")):
        if seconds >= limit:
            return f"{seconds / divisor:.3g} {unit}"
    return f"{short(1000 * seconds)} ms"


def percent(part):
    return f"{100 * part:.0f} %" if part >= 0.1 else f"{100 * part:.2g} %"


def users(count):
    return f"{count // 1000000} M" if count >= 1000000 else f"{count // 1000} k"
