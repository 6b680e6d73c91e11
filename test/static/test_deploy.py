"""What deploy/ holds: settings that the program knows, a configuration that nginx takes, images with all that is linked."""
import glob
import os
import re
import shutil
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("BYTETALK_BUILD", os.path.join(ROOT, "build", "release"))
BYTETALK = os.environ.get("BYTETALK", os.path.join(BUILD, "bytetalk"))


def text(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def run(*command, **kw):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **kw)


@pytest.mark.parametrize("ini", [os.path.relpath(p, ROOT) for p in sorted(glob.glob(os.path.join(ROOT, "deploy", "**", "*.ini"), recursive=True))])
def test_the_program_knows_every_setting(ini, tmp_path):
    done = run(BYTETALK, "--role=proxy", f"--config={os.path.join(ROOT, ini)}", "--check", cwd=tmp_path)
    assert done.returncode != 2, done.stderr


def test_compose_starts_every_role_with_options_that_there_are(tmp_path):
    commands = re.findall(r'command: \["--config=\S+", "--role=(\w+)"', text("deploy/compose/compose.yaml"))
    assert sorted(commands) == sorted(["proxy", "user", "friend", "group", "offline", "chat"])
    for role in commands:
        assert run(BYTETALK, f"--role={role}", "--version", cwd=tmp_path).returncode == 0


def test_docker_compose_takes_the_file():
    if not shutil.which("docker-compose"):
        pytest.skip("docker-compose is not here")
    done = run("docker-compose", "-f", os.path.join(ROOT, "deploy", "compose", "compose.yaml"), "config", "-q",
               env={**os.environ, "BYTETALK_USER": "1000:1000"})
    assert done.returncode == 0, done.stderr


def test_nginx_takes_its_configuration(tmp_path):
    done = run("/usr/sbin/nginx", "-t", "-c", os.path.join(ROOT, "deploy", "nginx.conf"), "-e", str(tmp_path / "error.log"),
               "-g", f"pid {tmp_path}/pid;")
    assert done.returncode == 0, done.stderr


def test_systemd_takes_the_units(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd is not here")
    for unit in ("bytetalk@.service", "bytetalk-unit.service"):
        (tmp_path / unit.replace("@", "@chat-1")).write_text(text(f"deploy/{unit}"))
    said = run("systemd-analyze", "verify", *map(str, sorted(tmp_path.iterdir()))).stderr
    wrong = [line for line in said.splitlines() if "bytetalk" in line and "is not executable" not in line]
    assert not wrong, said


def test_the_template_finds_the_role_in_the_instance(tmp_path):
    """What systemd makes of the line: %% is %, $$ is $, %i the instance."""
    line = re.search(r"^ExecStart=/bin/sh -c '(.*)' %i$", text("deploy/bytetalk@.service"), re.M)[1]
    script = line.replace("%%", "%").replace("$$", "$").replace("%H", "host").replace("%i", "chat-1").replace("exec ", "echo ", 1)
    assert "--role=chat" in run("/bin/sh", "-c", script, "chat-1").stdout.split()


def test_the_image_holds_every_library(tmp_path):
    installed = set(re.search(r"install -y --no-install-recommends (lib[^&]*)&&", text("deploy/Dockerfile"))[1].replace("\\", " ").split())
    if os.path.basename(BUILD) == "san":
        pytest.skip("the sanitizers have libraries of their own")
    needed = set()
    for program in (BYTETALK, os.path.join(BUILD, "bytetalk-cli")):
        needed |= set(re.findall(r"NEEDED\s+(\S+)", run("objdump", "-p", program).stdout))
    owners = set()
    for lib in needed:
        path = next(p for d in ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", *glob.glob("/usr/lib/*-linux-gnu"))
                    if os.path.exists(p := os.path.join(d, lib)))
        owned = run("dpkg-query", "-S", os.path.realpath(path)).stdout or run("dpkg-query", "-S", os.path.realpath(path)[4:]).stdout
        owners.add(owned.split(":")[0])
    assert owners - {"libc6", "libtinfo6"} <= installed, "the Dockerfile's last stage lacks some"
