"""A TCP relay that remembers what passed, and may be deaf."""

import socket
import threading
import time

from listener import Listener


class Relay(Listener):
    """Listens at an address and passes to a target; None: takes connections, and says nothing. connections has for each what
    the client sent and what came back, as two bytearrays. harm(data) makes of what comes back the pieces that are passed on, 20 ms
    apart; None among them ends the connection."""

    def __init__(self, address, target):
        self.target, self.connections, self.harm = target, [], None
        self.listen((address, 0))

    def serve(self, client):
        talk, server = (bytearray(), bytearray()), None
        self.connections.append(talk)
        try:
            if self.target:
                server = socket.create_connection(self.target)
                threading.Thread(target=self._pump, args=(server, client, talk[1], True), daemon=True).start()
        except OSError:
            client.close()
            return
        self._pump(client, server, talk[0])

    def _pump(self, source, sink, heard, back=False):
        try:
            while data := source.recv(65536):
                heard += data
                if sink:
                    self._pass(data, sink, self.harm if back else None)
        except OSError:
            pass
        for s in (source, sink):
            if s:
                self._shut(s)

    @staticmethod
    def _pass(data, sink, harm):
        if harm is None:
            sink.sendall(data)
            return
        for piece in harm(data):
            if piece is None:
                raise OSError
            sink.sendall(piece)
            time.sleep(0.02)

    def heard(self):
        return b"".join(bytes(part) for talk in list(self.connections) for part in talk)

    def stop(self):
        super().stop()
        self.hang_up()
