"""A TCP relay that remembers what passed, and may be deaf."""

import socket
import threading
import time


class Relay:
    """Listens at (address, port) and passes to a target; None: takes connections, and says nothing. connections has for each what
    the client sent and what came back, as two bytearrays. harm(data) makes of what comes back the pieces that are passed on, 20 ms
    apart; None among them ends the connection."""

    def __init__(self, address, target):
        self.target, self.connections, self.sockets, self.harm = target, [], [], None
        self.server = socket.create_server((address, 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            talk = (bytearray(), bytearray())
            self.connections.append(talk)
            self.sockets.append(client)
            try:
                if self.target:
                    server = socket.create_connection(self.target)
                    self.sockets.append(server)
                    threading.Thread(target=self._pump, args=(server, client, talk[1], True), daemon=True).start()
                threading.Thread(target=self._pump, args=(client, server if self.target else None, talk[0]), daemon=True).start()
            except OSError:
                client.close()

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
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

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
        self.server.close()
        for s in self.sockets:
            s.close()
