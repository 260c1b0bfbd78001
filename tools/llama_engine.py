#!/usr/bin/env python3
"""Runs one real llama.cpp server (PyPI xllamacpp, installed by tools/install.sh) until SIGTERM.

    tools/llama_engine.py --port-file PATH [--port 0] [--slots 4] [--ctx 8192] [--threads 1]

Starts itself again under the virtual environment's Python. `--port 0` takes a free port; the port
is written to PATH once the server answers /health. --ctx is the whole context, shared by the slots.
"""
import argparse
import os
import pathlib
import signal
import socket
import sys
import threading
import urllib.error
import urllib.request

CACHE = pathlib.Path(os.environ.get("HOLDFAST_CACHE") or pathlib.Path.home() / ".cache/holdfast")
PYTHON = CACHE / "llama" / "bin" / "python"
MODEL = CACHE / "model.gguf"
READY_S = 60


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--ctx", type=int, default=8192)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--port-file", type=pathlib.Path)
    return parser.parse_args()


def free_port():
    """A port that was free a moment ago; the server binds it itself, and fails if it lost it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_healthy(port, stopped):
    """True once /health is 200; False if told to stop or not healthy within READY_S."""
    for _ in range(READY_S * 20):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                if answer.status == 200:
                    return True
        except (urllib.error.URLError, OSError):
            pass
        if stopped.wait(0.05):
            return False
    return False


def main():
    wanted = arguments()
    if not PYTHON.exists() or not MODEL.exists():
        print("llama_engine: no llama.cpp here; run `make setup`", file=sys.stderr)
        return 1
    # By prefix, not by executable: a virtual environment's python is a link to the system's.
    if pathlib.Path(sys.prefix).resolve() != (CACHE / "llama").resolve():
        os.execv(PYTHON, [str(PYTHON), *sys.argv])
    import xllamacpp  # only there under PYTHON

    port = wanted.port or free_port()
    params = xllamacpp.CommonParams()
    params.model.path = str(MODEL)
    params.hostnames = ["127.0.0.1"]
    params.model_alias = {"SmolLM2-135M-Instruct"}
    params.port = port
    params.n_parallel = wanted.slots
    params.n_ctx = wanted.ctx
    params.cpuparams.n_threads = wanted.threads
    params.cpuparams_batch.n_threads = wanted.threads
    params.endpoint_slots = True
    params.endpoint_metrics = True

    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    signal.signal(signal.SIGINT, lambda *_: stopped.set())
    server = xllamacpp.Server(params)
    if not wait_until_healthy(port, stopped):
        print(f"llama_engine: port {port} is not healthy within {READY_S} s", file=sys.stderr)
        return 1
    if wanted.port_file:
        part = wanted.port_file.with_suffix(".part")
        part.write_text(f"{port}\n")
        part.replace(wanted.port_file)
    print(f"llama_engine: http://127.0.0.1:{port}, {wanted.slots} slots", flush=True)
    stopped.wait()
    del server
    os._exit(0)  # the library's threads may hold on to open streams


if __name__ == "__main__":
    sys.exit(main())
