"""Signals the stages of a node from Python: single signals, and a session that stages can signal.

Needs grpcio, protobuf and protoc; on Debian: apt-get install python3-grpcio python3-protobuf protobuf-compiler
"""

import importlib
import itertools
import pathlib
import queue
import subprocess
import sys
import tempfile
import threading

import grpc

PROTO = pathlib.Path(__file__).resolve().parents[3] / "proto" / "stage" / "signal" / "v1"
SERVICE = "/stage.signal.v1.SignalService/"


def _generate():
    """The messages of the protocol, generated where Python looks for them."""
    folder = tempfile.TemporaryDirectory()
    command = ["protoc", "-I", str(PROTO), "--python_out", folder.name, "signal.proto"]
    subprocess.run(command, check=True)
    sys.path.insert(0, folder.name)
    try:
        return importlib.import_module("signal_pb2")
    finally:
        sys.path.remove(folder.name)
        folder.cleanup()


proto = _generate()


class SignalFailed(Exception):
    """A signal without results; `reason` is a name such as REASON_DEADLINE."""

    def __init__(self, failure):
        self.reason = proto.Reason.Name(failure.reason)
        super().__init__(f"{self.reason}: {failure.detail}")


def to_value(value):
    """A Python value for a stage; bool comes before int, which it is as well."""
    if value is None:
        return proto.Value(nil=proto.Nil())
    if isinstance(value, bool):
        return proto.Value(boolean=value)
    if isinstance(value, int):
        return proto.Value(integer=value)
    if isinstance(value, float):
        return proto.Value(number=value)
    if isinstance(value, str):
        return proto.Value(text=value)
    if isinstance(value, bytes):
        return proto.Value(data=value)
    if isinstance(value, (list, tuple)):
        return proto.Value(list=proto.List(items=map(to_value, value)))
    if isinstance(value, dict):
        entries = [proto.Entry(key=to_value(k), value=to_value(v)) for k, v in value.items()]
        return proto.Value(map=proto.Map(entries=entries))
    raise TypeError(f"{type(value).__name__} cannot be sent to a stage")


def from_value(value):
    """A value of a stage as Python has it."""
    kind = value.WhichOneof("kind")
    if kind in (None, "nil"):
        return None
    if kind == "list":
        return [from_value(item) for item in value.list.items]
    if kind == "map":
        return {from_value(e.key): from_value(e.value) for e in value.map.entries}
    return getattr(value, kind)


def _request(address, args, timeout):
    millis = int(timeout * 1000) if timeout else 0
    return proto.SignalRequest(address=address, args=map(to_value, args), timeout_ms=millis)


def _results(answer):
    if answer.WhichOneof("outcome") == "failure":
        raise SignalFailed(answer.failure)
    return [from_value(value) for value in answer.results.values]


class Client:
    """A connection to the port of a node."""

    def __init__(self, address):
        self._channel = grpc.insecure_channel(address)
        self._signal = self._channel.unary_unary(
            SERVICE + "Signal",
            request_serializer=proto.SignalRequest.SerializeToString,
            response_deserializer=proto.SignalResponse.FromString,
        )

    def ask(self, address, *args, timeout=None):
        """The results of a signal. Raises SignalFailed."""
        return _results(self._signal(_request(address, args, timeout)))

    def session(self, on_push=None):
        """A session; `on_push(message, args)` is called for each signal of a stage to it."""
        return Session(self._channel, on_push)

    def close(self):
        self._channel.close()


class Session:
    """Many signals at once over one stream, and a name by which stages signal this client."""

    def __init__(self, channel, on_push):
        self._on_push = on_push
        self._ids = itertools.count(1)
        self._waiting = {}
        self._lock = threading.Lock()
        self._outgoing = queue.Queue()
        call = channel.stream_stream(
            SERVICE + "Session",
            request_serializer=proto.SessionRequest.SerializeToString,
            response_deserializer=proto.SessionResponse.FromString,
        )
        self._stream = call(iter(self._outgoing.get, None))
        welcome = next(self._stream).welcome
        self.name = welcome.name
        self._places = threading.BoundedSemaphore(welcome.in_flight)
        threading.Thread(target=self._read, daemon=True).start()

    def start(self, address, *args, timeout=None):
        """Sends a signal, once fewer are unfinished than the node lets; the answer is for `end`."""
        self._places.acquire()
        answer = queue.Queue(1)
        with self._lock:
            id = next(self._ids)
            self._waiting[id] = answer
        self._outgoing.put(proto.SessionRequest(id=id, signal=_request(address, args, timeout)))
        return answer

    def end(self, answer):
        """Waits for the results of what `start` has sent. Raises SignalFailed."""
        end = answer.get()
        if isinstance(end, Exception):
            raise end
        return _results(end)

    def close(self):
        self._outgoing.put(None)

    def _read(self):
        lost = ConnectionError("the session has ended; whether the signal ran is unknown")
        try:
            for response in self._stream:
                if response.WhichOneof("what") == "end":
                    self._finish(response.end.id, response.end)
                elif self._on_push and response.WhichOneof("what") == "push":
                    self._on_push(response.push.message, [from_value(v) for v in response.push.args])
        except grpc.RpcError as error:
            lost = ConnectionError(f"the session has ended: {error.details()}")
        for id in list(self._waiting):
            self._finish(id, lost)

    def _finish(self, id, end):
        with self._lock:
            answer = self._waiting.pop(id, None)
        if answer:
            answer.put(end)
            self._places.release()
