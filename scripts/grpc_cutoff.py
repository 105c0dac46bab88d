#!/usr/bin/env python3
"""Checks that Python's grpcio sees the cutoff of `Health/Watch`.

Not part of the test suite. It needs `pip install grpcio`, a redis-server and the built examples:

    cargo build --example server --example grpc
    python3 scripts/grpc_cutoff.py

It starts both examples on one Redis, logs out at the server, and expects the stream of the example
grpc to end with UNAUTHENTICATED. A stream of another user must go on, and end cleanly at SIGTERM.
"""

import json
import os
import re
import socket
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request

import grpc

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EXAMPLES = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "debug", "examples")
SECONDS = 30


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(name, redis):
    """Starts an example. Returns its process and its address."""
    variables = {
        "BIND": "127.0.0.1:0",
        "REDIS_URL": redis,
        "JWT_SECRET_KEY": "TEST-secret-of-the-python-check-0123456789abcdef",
        "RUST_LOG": "error",
    }
    process = subprocess.Popen([os.path.join(EXAMPLES, name)], env=variables, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if found := re.search(r"http://(127\.0\.0\.1:\d+)", line):
            return process, found[1]
    raise SystemExit(f"the example {name} does not start")


def post(url, token=None, **form):
    headers = {"authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, urllib.parse.urlencode(form).encode(), headers)
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        return json.load(answer)


def main():
    processes = []
    try:
        port = free_port()
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", tempfile.mkdtemp()]
        processes.append(subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL))
        deadline = time.monotonic() + SECONDS
        while socket.socket().connect_ex(("127.0.0.1", port)) != 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        redis = f"redis://127.0.0.1:{port}/"
        server, server_address = start("server", redis)
        processes.append(server)
        examples, grpc_address = start("grpc", redis)
        processes.append(examples)

        channel = grpc.insecure_channel(grpc_address)
        call = channel.unary_stream(
            "/grpc.health.v1.Health/Watch", request_serializer=bytes, response_deserializer=bytes
        )

        def watch(user):
            tokens = post(f"http://{server_address}/login", username=user, password=f"{user}-password")
            token = tokens["access_token"]
            stream = call(b"", metadata=[("authorization", f"Bearer {token}")], timeout=SECONDS)
            assert next(stream) == b"\x08\x01", "SERVING"
            return token, stream

        token, stream = watch("alice")
        _, other = watch("bob")
        began = time.monotonic()
        post(f"http://{server_address}/logout", token)
        try:
            raise SystemExit(f"a message after the logout: {next(stream)}")
        except grpc.RpcError as error:
            took = (time.monotonic() - began) * 1000
            print(f"{took:.0f} ms from the request to log out: {error.code()}, {error.details()!r}")
            assert error.code() == grpc.StatusCode.UNAUTHENTICATED, error
        assert other.is_active(), "the stream of another user goes on"
        examples.terminate()
        assert list(other) == [] and other.code() == grpc.StatusCode.OK, other.code()
        assert examples.wait(SECONDS) == 0
        print(f"grpcio {grpc.__version__}: at SIGTERM the stream of the other user ends with {other.code()}")
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
