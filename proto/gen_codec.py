"""Make straight-line code that sizes, encodes and decodes messages: codec.c, for gen_methods.py.

nanopb makes the structs and can do all of this too, but interprets a description of each field; a message costs it ten times
as much. The code made here does exactly what nanopb does (test/unit/test_codec.c compares them), for messages whose fields are
all of the kinds below; other messages stay with nanopb. It takes for granted what the .options files say: strings, bytes and
packed fixed64 lists are views, repeated messages are arrays behind a pointer. Otherwise what it makes does not compile.
"""

from google.protobuf.descriptor_pb2 import FieldDescriptorProto as F

MAX_NUMBER = 63  # the known fields of a message are bits of 64
VARINT, BYTES = 0, 2  # wire types

# The C expression of a scalar's varint, and how it is read. Enums are unsigned, as nanopb makes them of values >= 0.
SCALARS = {
    F.TYPE_UINT64: ("{}", "u64"),
    F.TYPE_INT64: ("(uint64_t){}", "i64"),
    F.TYPE_UINT32: ("{}", "u32"),
    F.TYPE_BOOL: ("{}", "bool"),
    F.TYPE_ENUM: ("(uint32_t){}", None),
}


class Field:
    """One field, as the lines of C that treat it; m is the message's struct."""

    def __init__(self, f, package):
        self.name, self.number, self.type = f.name, f.number, f.type
        self.type_name = f.type_name.removeprefix(f".{package}.")
        self.is_repeated = f.label == F.LABEL_REPEATED
        self.is_optional = f.proto3_optional
        self.is_packed = f.options.packed if f.options.HasField("packed") else True
        self.in_oneof = f.HasField("oneof_index") and not f.proto3_optional
        self.wire = VARINT if f.type in SCALARS else BYTES
        self.key = f.number << 3 | self.wire
        self.key_size = 1 if self.key < 0x80 else 2

    def kind(self, flat, enums):
        """None: nothing that is made here. flat: the messages that have a codec; enums: those without negative values."""
        if self.number > MAX_NUMBER or self.in_oneof:
            return None
        if self.is_repeated:
            if self.type == F.TYPE_FIXED64 and self.is_packed:
                return List(self)
            return Array(self) if self.type == F.TYPE_MESSAGE and self.type_name in flat else None
        if self.type in (F.TYPE_STRING, F.TYPE_BYTES):
            return View(self)
        if self.type == F.TYPE_MESSAGE:
            return Part(self) if self.type_name in flat else None
        if self.type in SCALARS and (self.type != F.TYPE_ENUM or self.type_name in enums):
            return Scalar(self)
        return None


class Kind:
    """What the kinds of fields have in common. size(), put() and get() return lines of C, release() too."""

    declares = ()  # what get() needs declared
    holds_memory = False

    def __init__(self, field):
        self.f = field

    def put_key(self):
        return f"*p++ = {self.f.key:#04x};" if self.f.key_size == 1 else f"p = codec_put_varint(p, {self.f.key:#04x});"

    def present(self):
        raise NotImplementedError

    def length(self):
        raise NotImplementedError

    def put_value(self):
        raise NotImplementedError

    def size(self):
        return [f"if ({self.present()})", f"    n += {self.f.key_size} + {self.length()};"]

    def put(self):
        return [f"if ({self.present()}) {{", f"    {self.put_key()}", *(f"    {line}" for line in self.put_value()), "}"]

    def release(self):
        return []


class Scalar(Kind):
    """A number, bool or enum: written if it is not 0, or if it is said to be there."""

    def __init__(self, field):
        super().__init__(field)
        self.form, self.reader = SCALARS[field.type]
        if field.type == F.TYPE_ENUM:
            self.declares = ("uint32_t number;",)

    def present(self):
        return f"m->has_{self.f.name}" if self.f.is_optional else f"m->{self.f.name} != 0"

    def length(self):
        return "1" if self.f.type == F.TYPE_BOOL else f"codec_varint_size({self.form.format('m->' + self.f.name)})"

    def put_value(self):
        return [f"p = codec_put_varint(p, {self.form.format('m->' + self.f.name)});"]

    def get(self):
        has = [f"m->has_{self.f.name} = true;"] if self.f.is_optional else []
        if self.reader:
            return has + [f"is_ok = codec_get_{self.reader}(in, &m->{self.f.name});"]
        c_type = self.f.type_name.replace(".", "_")
        return has + ["if ((is_ok = codec_get_u32(in, &number)))", f"    m->{self.f.name} = ({c_type})number;"]


class View(Kind):
    """A string or bytes: written if it points anywhere, empty or not."""

    def present(self):
        return f"m->{self.f.name}.data"

    def length(self):
        return f"codec_with_length(m->{self.f.name}.len)"

    def put_value(self):
        return [f"p = codec_put_view(p, m->{self.f.name});"]

    def get(self):
        return [f"is_ok = codec_get_view(in, &m->{self.f.name});"]


class List(View):
    """A packed list of fixed64: a view that is not written when it is empty, and comes in one piece."""

    def present(self):
        return f"codec_is_list(m->{self.f.name})"

    def get(self):
        return [f"is_ok = codec_get_list(in, &m->{self.f.name});"]


class Part(Kind):
    """A message in the message."""

    declares = ("struct codec_in part;",)

    def present(self):
        return f"m->has_{self.f.name}"

    def length(self):
        return f"codec_with_length(size_{self.f.type_name}(&m->{self.f.name}))"

    def put_value(self):
        at = f"&m->{self.f.name}"
        return [f"p = codec_put_varint(p, size_{self.f.type_name}({at}));", f"p = encode_{self.f.type_name}({at}, p);"]

    def get(self):
        call = f"decode_{self.f.type_name}(&part, &m->{self.f.name})"
        return [f"m->has_{self.f.name} = true;", f"is_ok = codec_get_part(in, &part) && {call};"]


class Array(Kind):
    """Messages behind a pointer. What was decoded before the rest is refused is released like all of it."""

    declares = ("struct codec_in part;", "void *grown;")
    holds_memory = True

    def loop(self, body):
        name = self.f.name
        return [f"for (size_t i = 0; m->{name} && i < m->{name}_count; i++)" + (" {" if len(body) > 1 else ""),
                *(f"    {line}" for line in body), *(["}"] if len(body) > 1 else [])]

    def size(self):
        return self.loop([f"n += {self.f.key_size} + codec_with_length(size_{self.f.type_name}(&m->{self.f.name}[i]));"])

    def put(self):
        at = f"&m->{self.f.name}[i]"
        return self.loop([self.put_key(), f"p = codec_put_varint(p, size_{self.f.type_name}({at}));",
                          f"p = encode_{self.f.type_name}({at}, p);"])

    def get(self):
        name = f"m->{self.f.name}"
        return [f"if (!(grown = rpc_codec_grow({name}, {name}_count, sizeof *{name})))", "    return false;", f"{name} = grown;",
                f"is_ok = codec_get_part(in, &part) && decode_{self.f.type_name}(&part, &{name}[{name}_count++]);"]

    def release(self):
        name = f"m->{self.f.name}"
        return [f"bt_free({name});", f"{name} = NULL;", f"{name}_count = 0;"]


def indent(lines, depth=1):
    return ["    " * depth + line for line in lines]


class Codec:
    """A message all of whose fields have a kind: its functions."""

    def __init__(self, name, kinds, holding):
        self.name = name
        self.kinds = sorted(kinds, key=lambda k: k.f.number)  # nanopb writes them so
        for k in self.kinds:  # what is released within it
            k.inner = k.f.type == F.TYPE_MESSAGE and k.f.type_name in holding
        self.holds_memory = any(k.holds_memory or k.inner for k in self.kinds)

    def message(self, const=""):
        return f"    {const}{self.name} *m = msg;" if self.kinds else "    (void)msg;"

    def size(self):
        body = [line for k in self.kinds for line in k.size()]
        return [f"static size_t size_{self.name}(const void *msg)", "{", self.message("const "), "    size_t n = 0;", "",
                *indent(body), "    return n;", "}", ""]

    def encode(self):
        body = [line for k in self.kinds for line in k.put()]
        return [f"static uint8_t *encode_{self.name}(const void *msg, uint8_t *p)", "{", self.message("const "), "",
                *indent(body), "    return p;", "}", ""]

    def decode(self):
        known = 1  # bit 0: there is no field 0
        cases = []
        for k in self.kinds:
            known |= 1 << k.f.number
            cases += [f"case {k.f.key:#04x}: /* {k.f.name} = {k.f.number} */", *indent(k.get()), "    break;"]
        cases += ["default:", f"    is_ok = rpc_codec_skip(in, key, UINT64_C({known:#x}));", "    break;"]
        declares = list(dict.fromkeys(d for k in self.kinds for d in k.declares))
        return [f"static bool decode_{self.name}(struct codec_in *in, void *msg)", "{", self.message(), "    uint32_t key;",
                *indent(declares), "    bool is_ok = true;", "",
                "    while (is_ok && in->p < in->end) {", "        if (!codec_get_varint32(in, &key))", "            return false;",
                "        switch (key) {", *indent(cases, 2), "        }", "    }", "    return is_ok;", "}", ""]

    def release(self):
        if not self.holds_memory:
            return []
        body = []
        for k in self.kinds:
            if k.inner:
                at = f"m->{k.f.name}"
                body += k.loop([f"release_{k.f.type_name}(&{at}[i]);"]) if k.holds_memory else [f"release_{k.f.type_name}(&{at});"]
            body += k.release()
        return [f"static void release_{self.name}(void *msg)", "{", self.message(), "", *indent(body), "}", ""]

    def row(self):
        n = self.name
        release = f"release_{n}" if self.holds_memory else "NULL"
        return [f"    {{ {n}_fields, sizeof({n}), size_{n}, encode_{n}, decode_{n}, {release} }},"]


def codecs_of(file_set, wanted):
    """The messages that are made of known kinds, those first that others hold; a message that holds itself is none of them."""
    files = [f for f in file_set.file if f.name in wanted]
    enums = {e.name for f in files for e in f.enum_type if all(v.number >= 0 for v in e.value)}
    left = [(m, [Field(x, f.package) for x in m.field]) for f in files for m in f.message_type]
    codecs, holding, grew = {}, set(), True
    while grew:
        grew = False
        for m, fields in left:
            kinds = [f.kind(codecs, enums) for f in fields] if m.name not in codecs else [None]
            if None not in kinds:
                codecs[m.name] = codec = Codec(m.name, kinds, holding)
                holding |= {m.name} if codec.holds_memory else set()
                grew = True
    return list(codecs.values())


def codec_c(codecs, files):
    out = ["/*", " * proto/codec.c: messages to bytes and back, field by field. Made by gen_codec.py from the .proto files.", " *",
           " * A key is what stands before a field on the wire: its number << 3 | the type of what follows.", " */"]
    out += ['#include "rpc/codec.h"', "", '#include "net/mem.h"']
    out += [f'#include "proto/{f.removesuffix(".proto")}.pb.h"' for f in files] + [""]
    for c in codecs:
        out += [f"/* ---- {c.name} ---- */", "", *c.size(), *c.encode(), *c.decode(), *c.release()]
    out += ["const struct rpc_codec rpc_codecs[] = {", *(line for c in codecs for line in c.row()), "    { .fields = NULL },", "};"]
    return "\n".join(out) + "\n"
