# SPDX-License-Identifier: Apache-2.0
"""Completions, each in its shell: commands, options, and names of the networks that run."""

import os
import pathlib
import pty
import select
import shutil
import subprocess
import tempfile
import time

import pytest
from fakenet import BUILD, VMNET, FakeNetwork, port, status, vmnet

SHELLS = {"bash": "vmnet.bash", "zsh": "_vmnet", "fish": "vmnet.fish"}
TIMEOUT_S = 20


@pytest.fixture(scope="module")
def runtime():
    """With the networks "lab" and "shared", and the scripts."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="openvmnet-", dir="/tmp"))
    lab = status("lab", [port(0, "lab", name="web"), port(1, "lab", name="db")])
    with FakeNetwork(directory, lab), FakeNetwork(directory, status("shared")):
        for shell, name in SHELLS.items():
            result = vmnet(directory, "help", "--completion", shell)
            assert (result.returncode, result.stderr) == (0, b"")
            (directory / name).write_bytes(result.stdout)
        yield directory
    shutil.rmtree(directory)


def quoted(words):
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)


def environment(runtime):
    names = ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "HOME", "ZDOTDIR", "OPENVMNET_ROOT")
    return {
        "PATH": f"{BUILD}:/usr/bin:/bin",
        "TERM": "vt100",
        "LC_ALL": "C.UTF-8",
        **dict.fromkeys(names, str(runtime)),
    }


def run(runtime, command):
    result = subprocess.run(
        command, env=environment(runtime), cwd=runtime, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert result.stderr == ""
    return result.stdout


def complete_bash(runtime, words):
    return run(runtime, ["bash", "--norc", "--noprofile", "-c",
        f". {runtime}/vmnet.bash; complete -p vmnet >/dev/null || exit; COMP_WORDS=(vmnet {quoted(words)}); "
        f"COMP_CWORD={len(words)}; _vmnet; "
        'if ((${#COMPREPLY[@]})); then printf "%s\\n" "${COMPREPLY[@]}"; fi'])  # fmt: skip


def complete_fish(runtime, words):
    line = quoted([" ".join(["vmnet", *words])])
    return run(runtime, ["fish", "--no-config", "-c", f"source {runtime}/vmnet.fish; complete -C {line}"])


# zsh completes on a terminal alone. What it would offer goes to a file, and then it ends.
ZSHRC = """
fpath=($HOME $fpath)
autoload -Uz compinit
compinit -u -D
compadd() {
    local -a matches
    if [[ ${@[1,(i)(-|--)]} != *-(O|A|D)* ]]; then
        builtin compadd -O matches "$@"
        print -rl -- $matches >>$HOME/matches
    fi
    builtin compadd "$@"
}
finish() { exit }
comppostfuncs=(finish)
bindkey '^I' complete-word
unsetopt beep
PROMPT='@ready@'
"""


def complete_zsh(runtime, words):
    (runtime / ".zshrc").write_text(ZSHRC)
    matches = runtime / "matches"
    matches.write_text("")
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(runtime)
        os.execvpe("zsh", ["zsh", "-d", "-i"], environment(runtime))
    deadline, seen, asked = time.monotonic() + TIMEOUT_S, b"", False
    while True:
        ready, _, _ = select.select([fd], [], [], max(0, deadline - time.monotonic()))
        assert ready, seen
        try:
            data = os.read(fd, 65536)
        except OSError:
            data = b""
        seen += data
        if not data:
            break
        if not asked and b"@ready@" in seen:
            asked = True
            os.write(fd, " ".join(["vmnet", *words]).encode() + b"\t")
    os.close(fd)
    os.waitpid(pid, 0)
    return matches.read_text()


COMPLETE = {"bash": complete_bash, "zsh": complete_zsh, "fish": complete_fish}


@pytest.mark.parametrize("shell", COMPLETE)
def test_completion(runtime, shell):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")

    def complete(*words):
        """The last word is the one at the cursor."""
        lines = COMPLETE[shell](runtime, words).splitlines()
        return sorted(line.split("\t")[0].strip() for line in lines if line.strip())

    assert complete("st") == ["status"]
    assert {"run", "status", "top", "help"} <= set(complete(""))
    assert complete("status", "") == ["lab", "shared"]
    assert complete("status", "la") == ["lab"]
    assert complete("status", "--json", "sh") == ["shared"]
    assert [word.rstrip("=") for word in complete("top", "--int")] == ["--interval"]
    assert complete("run", "--network", "l") == ["lab"]
    assert complete("help", "met") == ["metrics"]
    # zsh offers options where there is nothing else.
    assert not [word for word in complete("status", "lab", "") if word[0] != "-"]
    assert "bash" in complete("run", "--name", "x", "bas")


def test_completion_of_places():
    """The usage lines of all commands give places that the scripts know."""
    script = subprocess.run(
        [VMNET, "help", "--completion", "bash"], capture_output=True, text=True, check=True
    ).stdout
    places = " ".join(line.partition("places='")[2].partition("'")[0] for line in script.splitlines())
    for place in places.split():
        kind = place.removesuffix("...")
        assert kind in ("network", "port", "file", "program", "command", "none") or kind.islower(), kind


def test_unknown_shell(runtime):
    result = vmnet(runtime, "help", "--completion", "csh")
    assert result.returncode == 2 and b"no completion for 'csh'" in result.stderr


def test_names(runtime):
    for arguments, names in (([], b"lab\nshared\n"), (["lab"], b"web\ndb\n"), (["gone"], b"")):
        result = vmnet(runtime, "help", "--names", *arguments)
        assert (result.returncode, result.stdout, result.stderr) == (0, names, b"")
