"""A small OpenTelemetry collector: keeps the metrics that it is sent over HTTP."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest


class Collector:
    """Listens on loopback; `points` are the metrics that arrived, by name: their values by tags."""

    def __init__(self) -> None:
        self.points: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _answering(self))
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, body: bytes) -> None:
        """Keep what one request brings."""
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            for metric in (each for scope in resource.scope_metrics for each in scope.metrics):
                for point in (metric.gauge if metric.HasField("gauge") else metric.sum).data_points:
                    tags = tuple(sorted((each.key, each.value.string_value) for each in point.attributes))
                    value = point.as_int if point.WhichOneof("value") == "as_int" else point.as_double
                    self.points.setdefault(metric.name, {})[tags] = value


def _answering(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Conversation(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    return Conversation
