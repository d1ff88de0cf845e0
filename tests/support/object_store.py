"""An S3 server on loopback, SeaweedFS, that a test can stop and start again; its objects stay."""

import json
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from tests.support.waiting import wait_until

SERVERS = ("master", "volume", "filer", "s3")
ACCESS_KEY, SECRET_KEY = "tests", "only-for-tests"
BUCKET = "studies"


def reserve(port: int) -> socket.socket:
    """Take a port that other programs must not get. It refuses connections."""
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(("127.0.0.1", port))
    return taken


class _Slow(socketserver.BaseRequestHandler):
    """A connection whose every request waits on its way."""

    server: "SlowWay"

    def handle(self) -> None:
        with socket.create_connection(self.server.target) as far:
            answers = threading.Thread(target=_pass_on, args=(far, self.request))
            answers.start()
            _pass_on(self.request, far, self.server.seconds)
            answers.join()


class SlowWay(socketserver.ThreadingTCPServer):
    """A port of this machine from which every request reaches a server late.

    Args:
        endpoint: The server, `http://HOST:PORT`.
        seconds: Seconds that each request waits.
    """

    daemon_threads = True

    def __init__(self, endpoint: str, seconds: float) -> None:
        host, _, port = endpoint.removeprefix("http://").partition(":")
        self.target, self.seconds = (host, int(port)), seconds
        super().__init__(("127.0.0.1", 0), _Slow)
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket, seconds: float = 0.0) -> None:
    """Pass bytes on until the source ends."""
    with suppress(OSError):
        while content := source.recv(1 << 16):
            time.sleep(seconds)
            target.sendall(content)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class ObjectStore:
    """The server; `environment` is what its users need."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reserved = [reserve(0) for _ in range(2 * len(SERVERS))]
        ports = [str(each.getsockname()[1]) for each in self._reserved]
        http, grpc = ports[: len(SERVERS)], ports[len(SERVERS) :]
        self._ports = [f"-{server}.port={port}" for server, port in zip(SERVERS, http, strict=True)]
        self._ports += [f"-{server}.port.grpc={port}" for server, port in zip(SERVERS, grpc, strict=True)]
        self.endpoint = f"http://127.0.0.1:{http[-1]}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self._grpc = grpc
        self._all_ports = [int(port) for port in ports]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it serves the bucket, which it has from its first start."""
        from pyarrow import fs

        (self._folder / "data").mkdir(exist_ok=True)
        who = {"credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}], "actions": ["Admin"]}
        users = self._folder / "users.json"
        users.write_text(json.dumps({"identities": [{"name": "tests", **who}]}))
        options = [f"-dir={self._folder}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", *self._ports]
        options += [f"-s3.config={users}", "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        options += [
            "-s3.autoCreateBucket=false",
            "-master.telemetry=false",
            "-master.electionTimeout=1s",
            "-master.heartbeatInterval=100ms",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=100",
        ]
        program = Path(sys.executable).with_name("weed")
        self._release()
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "-logtostderr=true", "server", *options],
                stdout=log,
                stderr=log,
                env=os.environ | {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"},
            )
        wait_until(self._answers_or_ended)
        assert self._process.poll() is None, f"the server ended; see {self._folder}/log"
        files = fs.S3FileSystem(
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
            endpoint_override=self.endpoint,
            allow_bucket_creation=True,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=10),
        )
        files.create_dir(BUCKET)
        with files.open_output_stream(f"{BUCKET}/.ready") as file:
            file.write(b"ready")

    def _answers_or_ended(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            return True
        try:
            urllib.request.urlopen(self.endpoint, timeout=10)
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Stop the server for good."""
        self.stop()
        self._release()

    def _release(self) -> None:
        while self._reserved:
            self._reserved.pop().close()

    def stop(self) -> None:
        """Kill the server, if it runs, and remove the sockets that it leaves."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._reserved = [reserve(port) for port in self._all_ports]
        for port in self._grpc:
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink()
