"""What a running daemon has not imported: optional parts are lazy, and OpenSSL stays out where nothing speaks TLS."""

from __future__ import annotations

import socket
import subprocess
import sys

PROGRAM = """
import base64, os, signal, socket, sys, threading, time
from clasp_edge.cli import main

def look(port):
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port))
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    with connection:
        connection.sendall(
            b"GET / HTTP/1.1\\r\\nHost: x\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
            b"Sec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\\r\\n\\r\\n"
        )
        sys.stdout.write("ANSWER " + connection.recv(100).decode().splitlines()[0] + "\\n")
    time.sleep(1.0)
    sys.stdout.write("MODULES " + " ".join(sorted(sys.modules)) + "\\n")
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGTERM)

port = int(sys.argv[1])
threading.Thread(target=look, args=(port,), daemon=True).start()
listen = f"websocket.listen=127.0.0.1:{port}"
sys.exit(main.main(["run", "--set", listen, "--set", "mqtt.listen=off", "--set", "osc.listen=off", "--set",
    "journal.mode=off"]))
"""

ABSENT = (
    "ssl",
    "_ssl",
    "_hashlib",
    "lmdb",
    "paho",
    "pythonosc",
    "zeroconf",
    "aioquic",
    "qh3",
    "systemd",
    "cryptography",
    "websockets",
    # Heavy parts of the standard library, and what is only looked at when somebody asks.
    "bz2",
    "ctypes",
    "difflib",
    "lzma",
    "shutil",
    "clasp_edge.discovery",
    "clasp_edge.daemon.discovery",
    "clasp_edge.console.prometheus",
    "clasp_edge.console.router_report",
)


def test_optional_parts_are_not_imported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, port], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "ANSWER HTTP/1.1 101 Switching Protocols" in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("MODULES ")]
    modules = set(line.split()[1:])
    assert "clasp_edge.transports.websocket" in modules
    assert not modules.intersection(ABSENT)
    assert not any(name.startswith(("clasp_edge.devices", "aiofastnet.")) for name in modules)


def test_the_real_ssl_module_is_there_for_who_imports_it_later() -> None:
    program = (
        "from clasp_edge.daemon.no_tls import import_loop_without_tls; import_loop_without_tls()\n"
        "import asyncio, ssl, uvloop\n"
        "assert ssl.create_default_context().verify_mode == ssl.CERT_REQUIRED\n"
        "async def main():\n"
        "    loop = asyncio.get_running_loop()\n"
        "    try:\n"
        "        await loop.create_connection(asyncio.Protocol, '127.0.0.1', 1, ssl=ssl.create_default_context())\n"
        "    except TypeError as error:\n"
        "        print('refused', error)\n"
        "with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:\n"
        "    runner.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("refused")
