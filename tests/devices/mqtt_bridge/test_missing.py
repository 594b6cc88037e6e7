"""A bridge in the configuration and no paho-mqtt on the machine: said plainly, and the router serves all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from support.bridged import bridge_config
from support.client import WsClient
from support.live import eventually, get

PROGRAM = """
import sys
sys.modules["paho"] = None
from clasp_edge.cli import main
sys.exit(main.main(["run", "--config", sys.argv[1], "--set", "websocket.listen=127.0.0.1:0", "--set", "mqtt.listen=off",
                    "--set", "osc.listen=off", "--set", f"data_dir={sys.argv[2]}"]))
"""


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    config = tmp_path / "clasp-edge.toml"
    config.write_text(bridge_config(["mqtt://127.0.0.1:1"], [{"topic": "#", "address": "/m/**"}]))
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, config, tmp_path / "data"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(root)},
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            ready = next(line for line in process.stdout if line.startswith("ready"))
            with WsClient(ready.split()[1]) as client:
                client.hello()
                client.drain()

                def last_error() -> str:
                    param = get(client, "/clasp-edge/bridges/site/last_error")
                    return "" if param is None else str(param.value)

                eventually(lambda: "paho-mqtt is not installed" in last_error())
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=15)
            assert process.returncode == 0
            assert "pip install '.[bridge]'" in errors
        finally:
            process.kill()
