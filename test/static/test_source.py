"""The source itself: who includes whom, that every header stands alone, that both compilers have nothing to say."""
import concurrent.futures
import glob
import os
import re
import shlex
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("BYTETALK_BUILD", os.path.join(ROOT, "build", "release"))
FOLDERS = ("", "net", "rpc", "store", "roles", "client", "test/unit", "test/cutvfs", "test/chaos", "test/sim")

# Who may include whom: bytetalk.c -> roles -> { rpc, store } -> net, beside them client over rpc and net. proto: what is
# generated from the .proto files.
MAY_INCLUDE = {
    "": {"", "roles", "rpc", "store", "net", "proto"},
    "roles": {"roles", "rpc", "store", "net", "proto"},
    "rpc": {"rpc", "net", "proto"},
    "store": {"store", "net"},
    "client": {"client", "rpc", "net", "proto"},
    "net": {"net"},
}
# In which folder a library is known; elsewhere its header does not appear.
LIBRARIES = {
    "uv.h": {"net"},
    "ini.h": {"net"},
    "sqlite3.h": {"store"},
    "mysql.h": {"store"},
    "hiredis/hiredis.h": {"store"},
    "hiredis/async.h": {"store"},
    "zookeeper/zookeeper.h": {"rpc"},
    "histedit.h": {"client"},
    "editline/readline.h": {"client"},
    "pb_encode.h": {"rpc"},
    "pb_decode.h": {"rpc"},
}


def sources(pattern, folders=FOLDERS):
    return [os.path.relpath(p, ROOT) for f in folders for p in sorted(glob.glob(os.path.join(ROOT, f, pattern)))]


def includes(path, kind):
    form = r'^\s*#\s*include\s*"([^"]+)"' if kind == "own" else r"^\s*#\s*include\s*<([^>]+)>"
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return re.findall(form, f.read(), re.M)


def flags():
    with open(os.path.join(BUILD, "test", "flags"), encoding="utf-8") as f:
        return shlex.split(f.read())


def compile_all(commands):
    """Run the commands, as many at once as there are processors; what those that failed said."""
    def run(command):
        p = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        return p.stderr if p.returncode or p.stderr else None
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return [said for said in pool.map(run, commands) if said]


def role_of(path):
    return re.match(r"[a-z]+", os.path.basename(path)).group()


@pytest.mark.parametrize("folder", MAY_INCLUDE, ids=lambda f: f or "root")
def test_an_include_never_points_left_or_sideways(folder):
    wrong = [f"{path} includes {inc}" for path in sources("*.[ch]", [folder]) for inc in includes(path, "own")
             if os.path.dirname(inc) not in MAY_INCLUDE[folder]]
    assert not wrong


def test_a_role_never_includes_another_role():
    roles = {"proxy", "user", "friend", "group", "offline", "chat"}
    wrong = [f"{path} includes {inc}" for path in sources("*.[ch]", ["roles"]) for inc in includes(path, "own")
             if os.path.dirname(inc) == "roles" and role_of(inc) in roles - {role_of(path)}]
    assert not wrong


def test_a_library_is_known_in_one_place():
    wrong = [f"{path} includes <{inc}>" for path in sources("*.[ch]", MAY_INCLUDE) for inc in includes(path, "system")
             if os.path.dirname(path) not in LIBRARIES.get(inc, {os.path.dirname(path)})]
    assert not wrong


def test_a_source_includes_its_own_header_first():
    wrong = []
    for path in sources("*.c", MAY_INCLUDE):
        header, own = path[:-2] + ".h", includes(path, "own")
        with open(os.path.join(ROOT, path), encoding="utf-8") as f:
            text = f.read()
        first = re.search(r'^\s*#\s*include\s*["<]([^">]+)', text, re.M)
        # A program's main file has no header of its own: the one of that name is shared by all its files.
        if header in own and first.group(1) != header and not re.search(r"^int main\(", text, re.M):
            wrong.append(path)
    assert not wrong


def test_every_header_compiles_alone():
    said = compile_all([["gcc", *flags(), "-Werror", "-fsyntax-only", "-x", "c", h] for h in sources("*.h")])
    assert not said, "\n".join(said)


def test_clang_has_nothing_to_say():
    # gcc's warnings are errors in the build before these tests.
    said = compile_all([["clang", *flags(), "-Werror", "-fsyntax-only", f] for f in sources("*.c")])
    assert not said, "\n".join(said)


def test_a_file_says_what_it_is_for():
    silent = []
    for path in sources("*.[ch]"):
        with open(os.path.join(ROOT, path), encoding="utf-8") as f:
            if not f.read(2) == "/*":
                silent.append(path)
    assert not silent
