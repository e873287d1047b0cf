"""A proxy between the gate and Redis that does what networks do: drips, delays, swallows, cuts off."""

import socket
import threading
import time

from listener import Listener


class Proxy(Listener):
    """Listens on a unix socket, or at an address and port, and forwards to a unix socket. mode, at any time:

    pass     forwards
    drip     answers come byte by byte, 20 ms apart
    delay    answers come `seconds` later
    stall    connections are taken, nothing is ever forwarded
    deaf     questions are forwarded, answers are swallowed
    cut      the next answer is swallowed and its connection closed; then pass
    half     the next answer is cut in its middle and its connection closed; then pass
    last     after `seconds` more answers one is swallowed and its connection closed; then stall
    after    stall, but for the first `bytes` of questions of each new connection
    """

    def __init__(self, path, target):
        self.target = str(target)
        self.mode, self.seconds, self.bytes = "pass", 0.0, 0
        self.lock = threading.Lock()
        self.pairs = []
        self.connects = 0
        self.listen(path)

    @property
    def url(self):
        return f"unix://{self.path}?db=0"

    def serve(self, near):
        far = socket.socket(socket.AF_UNIX)
        with self.lock:
            self.connects += 1
        try:
            far.connect(self.target)
        except OSError:
            near.close()
            return
        with self.lock:
            self.pairs.append((near, far))
        threading.Thread(target=self._answers, args=(near, far), daemon=True).start()
        self._questions(near, far)

    def _close(self, near, far):
        for s in (near, far):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        with self.lock:
            if (near, far) in self.pairs:
                self.pairs.remove((near, far))
                near.close()
                far.close()

    def close_all(self):
        """Every connection ends; new ones are taken."""
        with self.lock:
            pairs = list(self.pairs)
        for pair in pairs:
            self._close(*pair)

    def _questions(self, near, far):
        budget = self.bytes
        try:
            while data := near.recv(65536):
                while self.mode == "stall" or (self.mode == "after" and budget <= 0):
                    time.sleep(0.01)
                budget -= len(data)
                far.sendall(data)
        except OSError:
            pass
        self._close(near, far)

    def _answers(self, near, far):
        try:
            while data := far.recv(65536):
                if not self._answer(near, data):
                    break
        except OSError:
            pass
        self._close(near, far)

    def _answer(self, near, data):
        mode = self.mode
        if mode == "drip":
            for i in range(len(data)):
                near.sendall(data[i:i + 1])
                if self.mode == "drip":
                    time.sleep(0.02)
            return True
        if mode == "delay":
            time.sleep(self.seconds)
        while self.mode in ("stall", "deaf"):
            if self.mode == "deaf":
                return True
            time.sleep(0.01)
        if mode == "last":
            with self.lock:
                self.seconds -= 1
                self.mode = "stall" if self.seconds < 0 else mode
            if self.seconds < 0:
                return False
        if mode in ("cut", "half"):
            with self.lock:
                first, self.mode = self.mode == mode, "pass"
            if first:
                if mode == "half":
                    near.sendall(data[:len(data) // 2])
                return False
        near.sendall(data)
        return True

    def stop(self):
        super().stop()
        self.mode = "pass"
        self.close_all()
