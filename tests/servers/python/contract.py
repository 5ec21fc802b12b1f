"""What contract servers share: HTTP/1.1 with JSON, a port for the tests' orders, modes in which every call fails.

A contract server is ours, written from the vendor's API reference. It stands where no emulator could be had.
Orders come as `GET /ORDER/ARGUMENT` on the control port: `mode` is one for every server, others are the server's own.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Refused(Exception):
    """An answer that is a refusal."""

    def __init__(self, status, body, headers=None):
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers or {}


class Server:
    """State behind both ports; `lock` guards it."""

    def __init__(self):
        self.mode = "plain"
        self.lock = threading.Lock()

    def order(self, name, argument):
        """Does what a test orders."""
        if name != "mode":
            raise KeyError(name)
        self.mode = argument

    def answer(self, request, method, path, body):
        """A document, or `Refused`."""
        raise NotImplementedError


class Handler(BaseHTTPRequestHandler):
    """Speaks for a server."""

    protocol_version = "HTTP/1.1"
    server_version = "contract"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.serve("GET")

    def do_POST(self):
        self.serve("POST")

    def serve(self, method):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        behind = self.server.behind
        if self.server.control:
            _, name, argument = self.path.split("/", 2)
            with behind.lock:
                told = behind.order(name, argument)
            return self.send(200, json.dumps(told))
        if behind.mode == "slow":
            time.sleep(3600)
        if behind.mode == "garbage":
            return self.send(200, "<html>")
        try:
            with behind.lock:
                document = behind.answer(self, method, self.path.split("?")[0], body)
            self.send(200, json.dumps(document))
        except Refused as refused:
            self.send(refused.status, json.dumps(refused.body), refused.headers)

    def send(self, status, text, headers=None):
        data = text.encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


class Listener(ThreadingHTTPServer):
    """A loopback port of a server."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port, behind, control):
        self.behind, self.control = behind, control
        super().__init__(("127.0.0.1", port), Handler)


def run(server, tls=None):
    """Serves on the two ports that the command line names: the API's and that for orders."""
    port, control = int(sys.argv[1]), int(sys.argv[2])
    api = Listener(port, server, False)
    if tls:
        api.socket = tls.wrap_socket(api.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    Listener(control, server, True).serve_forever()
