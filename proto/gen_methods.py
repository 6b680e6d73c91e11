#!/usr/bin/python3
"""Make the method enum, the table of methods, the roles' dispatch tables and the callers' stubs from the .proto files.

    gen_methods.py --proto-dir proto --out build/release/gen/proto client.proto node.proto

writes methods.h, methods.c, stubs.h, codec.c (gen_codec.py) and, for each role that serves anything, <role>_methods.h. What a method is,
its option (bytetalk.method) says; protoc reads it, so nothing here parses .proto text.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # the source tree may not be ours to write to

import gen_codec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ROUTES = {"ANY": "RPC_ANY", "OWNER": "RPC_OWNER", "DIRECT": "RPC_DIRECT"}
MAX_ID = 0x1FFF  # rpc_method_info() looks ids up in a flat table


class BadProto(Exception):
    pass


class Method:
    """One rpc of one service, with the C names that are made from it."""

    def __init__(self, where, service, name, option, enums, req, reply):
        self.where, self.service, self.name = where, service, name
        self.id, self.event, self.late = option.id, option.event, option.late
        self.role = enums["Role"][option.role].removeprefix("ROLE_").lower()
        self.route = enums["Route"][option.route]
        self.repeat = enums["Repeat"][option.repeat]
        self.access = enums["Access"][option.access]
        self.req, self.reply = req, reply
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
        # A client's events and NodeHello say in their names whose they are.
        own = self.role == "client" or snake.startswith(self.role + "_")
        self.handler = snake if own else f"{self.role}_{snake}"
        self.constant = "RPC_" + self.handler.upper()


def load(proto_dir, files):
    """Compile with protoc; return the FileDescriptorSet with the custom options readable, and their enums."""
    with tempfile.TemporaryDirectory() as tmp:
        # descriptor.proto, which options.proto extends, comes from the Python library: protoc may not have its own.
        known, path = os.path.join(tmp, "known.pb"), os.path.join(tmp, "set.pb")
        base = descriptor_pb2.FileDescriptorSet()
        descriptor_pb2.DESCRIPTOR.CopyToProto(base.file.add())
        with open(known, "wb") as f:
            f.write(base.SerializeToString())
        cmd = ["protoc", "-I", proto_dir, "--descriptor_set_in=" + known]
        cmd += ["--include_imports", "--descriptor_set_out=" + path, *files]
        if subprocess.run(cmd, check=False).returncode != 0:
            raise BadProto("protoc refused the files")
        with open(path, "rb") as f:
            raw = f.read()
    # Read once to learn the option's type, then again with messages that know it.
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(raw).file:
        pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    for name in ("google.protobuf.FileDescriptorSet", "bytetalk.Method"):
        factory.GetPrototype(pool.FindMessageTypeByName(name))
    file_set = factory.GetPrototype(pool.FindMessageTypeByName("google.protobuf.FileDescriptorSet")).FromString(raw)
    enums = {
        name: {v.number: v.name for v in pool.FindEnumTypeByName("bytetalk." + name).values}
        for name in ("Role", "Route", "Repeat", "Access")
    }
    return file_set, pool.FindExtensionByName("bytetalk.method"), enums


def methods_of(file_set, extension, enums, wanted):
    found = []
    for file in file_set.file:
        if file.name not in wanted:
            continue
        for service in file.service:
            for m in service.method:
                where = f"{file.name}: {service.name}.{m.name}"
                if not m.options.HasExtension(extension):
                    raise BadProto(f"{where} has no option (bytetalk.method)")
                option = m.options.Extensions[extension]
                for field, enum in (("role", "Role"), ("route", "Route"), ("repeat", "Repeat"), ("access", "Access")):
                    if getattr(option, field) not in enums[enum]:
                        raise BadProto(f"{where}: unknown {field} {getattr(option, field)}")
                types = [t.removeprefix("." + file.package + ".") for t in (m.input_type, m.output_type)]
                found.append(Method(where, service.name, m.name, option, enums, *types))
    return sorted(found, key=lambda m: m.id)


def check(methods):
    ids, names = {}, {}
    for m in methods:
        if not 0 < m.id <= MAX_ID:
            raise BadProto(f"{m.where}: id {m.id:#06x} is not between 1 and {MAX_ID:#06x}")
        for seen, key, what in ((ids, m.id, f"id {m.id:#06x}"), (names, m.constant, m.constant)):
            if key in seen:
                raise BadProto(f"{m.where}: {what} is taken by {seen[key]}")
            seen[key] = m.where
        if m.event != (m.repeat == "ONCE"):
            raise BadProto(f"{m.where}: events, and only events, have repeat: ONCE")
        if m.late and m.repeat != "STATE":
            raise BadProto(f"{m.where}: late is said of what has repeat: STATE, all else may always be")
        if m.role == "client" and not m.event:
            raise BadProto(f"{m.where}: clients are sent events only")
    if not methods:
        raise BadProto("no methods")


def guard(name):
    return "BT_PROTO_" + re.sub(r"\W", "_", name).upper()


def header(name, about, includes, lines):
    g = guard(name)
    head = [f"/* proto/{name}: {about} Made by gen_methods.py from the .proto files. */", f"#ifndef {g}", f"#define {g}", ""]
    return "\n".join(head + [f'#include "{i}"' for i in includes] + [""] + lines + ["", "#endif", ""])


def methods_h(methods):
    rows = [f"    {m.constant} = 0x{m.id:04x}," for m in methods]
    return header("methods.h", "the number of every method.", ["rpc/method.h"], ["enum rpc_method_id {", *rows, "};"])


def methods_c(methods, files, codecs):
    rows = {codec.name: f"&rpc_codecs[{i}]" for i, codec in enumerate(codecs)}
    includes = ["proto/methods.h", "rpc/codec.h"] + [f"proto/{f.removesuffix('.proto')}.pb.h" for f in files]
    out = ["/* proto/methods.c: what the .proto files say of every method. Made by gen_methods.py. */"]
    out += [f'#include "{i}"' for i in includes] + ["", "const struct rpc_method_info rpc_method_infos[] = {"]
    for m in methods:
        out.append(
            f'    {{ {m.constant}, "{m.service}", "{m.name}", RPC_ROLE_{m.role.upper()}, {ROUTES[m.route]}, '
            f"RPC_{m.repeat}, RPC_ACCESS_{m.access}, {str(m.event).lower()}, {str(m.late).lower()},\n"
            f"      {m.req}_fields, {m.reply}_fields, sizeof({m.req}), sizeof({m.reply}), {rows.get(m.req, 'NULL')} }},"
        )
    out += ["    { .id = 0 },", "};", ""]
    kind = "uint8_t" if len(methods) < 255 else "uint16_t"
    out += ["/* 1 + the row of an id; 0: no such method. */", f"static const {kind} rows[0x{methods[-1].id + 1:04x}] = {{"]
    out += [f"    [{m.constant}] = {i + 1}," for i, m in enumerate(methods)]
    out += ["};", "", "const struct rpc_method_info *rpc_method_info(uint16_t id)", "{"]
    out += ["    if (id >= sizeof rows / sizeof *rows || rows[id] == 0)", "        return NULL;"]
    out += ["    return &rpc_method_infos[rows[id] - 1];", "}", ""]
    return "\n".join(out)


def role_h(role, methods):
    """A role's handlers and tables, for the one .c file that defines the role."""
    lines = [f"rpc_handler {m.handler};" for m in methods]
    tables = {f"{role}_methods": methods}
    if role == "proxy":  # it has two listeners
        tables = {
            "proxy_methods": [m for m in methods if m.access == "NODE"],
            "proxy_client_methods": [m for m in methods if m.access != "NODE"],
        }
    for name, rows in tables.items():
        lines += ["", f"static const struct rpc_method {name}[] = {{"]
        lines += [f"    {{ {m.constant}, {m.handler} }}," for m in rows] + ["    { 0, NULL },", "};"]
    about = f"the handlers of the {role} role, to be included by the one file that describes it."
    return header(f"{role}_methods.h", about, ["proto/methods.h"], lines)


def stub(m):
    """Whoever is called directly is named by the caller: rpc_event_to(), or the link itself; no stub."""
    if m.event:
        return [
            f"static inline enum bt_err rpc_{m.handler}_event(struct rpc *rpc, const struct rpc_ctx *ctx, const {m.req} *msg)",
            "{", f"    return rpc_event(rpc, {m.constant}, ctx, msg);", "}", "",
        ]
    return [
        f"static inline struct rpc_pending *rpc_{m.handler}(struct rpc *rpc, const struct rpc_ctx *ctx, const {m.req} *req,",
        " " * 50 + "rpc_reply_cb *cb, void *arg)",
        "{", f"    return rpc_send_msg(rpc, {m.constant}, ctx, req, cb, arg);", "}", "",
    ]


def stubs_h(methods, files):
    lines = [line for m in methods if m.route != "DIRECT" for line in stub(m)]
    includes = ["proto/methods.h"] + [f"proto/{f.removesuffix('.proto')}.pb.h" for f in files] + ["rpc/rpc.h"]
    return header("stubs.h", "calls with the messages that they take.", includes, lines[:-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--proto-dir", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()
    try:
        file_set, extension, enums = load(args.proto_dir, args.files)
        methods = methods_of(file_set, extension, enums, args.files)
        check(methods)
    except BadProto as e:
        sys.exit(f"gen_methods.py: {e}")
    codecs = gen_codec.codecs_of(file_set, args.files)
    texts = {
        "methods.h": methods_h(methods),
        "methods.c": methods_c(methods, args.files, codecs),
        "stubs.h": stubs_h(methods, args.files),
        "codec.c": gen_codec.codec_c(codecs, args.files),
    }
    for role in sorted({m.role for m in methods} - {"client"}):
        texts[f"{role}_methods.h"] = role_h(role, [m for m in methods if m.role == role])
    for name, text in texts.items():
        with open(os.path.join(args.out, name), "w", encoding="utf-8") as f:
            f.write(text)


if __name__ == "__main__":
    main()
