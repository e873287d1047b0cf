"""A socket to which everybody may connect; each connection is served in a thread of its own."""

import os
import socket
import threading


class Listener:
    """A subclass says in serve() what is done with a connection, and has all that this needs before it calls listen(). at: the path of
    a unix socket, or an address and a port, 0 for any that is free; `path` is then where it listens."""

    def listen(self, at):
        self.clients = []
        if isinstance(at, tuple):
            self.server = socket.create_server(at, backlog=128)
            self.path = self.address, self.port = self.server.getsockname()
        else:
            self._listen_unix(at)
        threading.Thread(target=self._accept, daemon=True).start()

    def _listen_unix(self, path):
        self.path = str(path)
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(self.path)
        os.chmod(self.path, 0o777)
        self.server.listen(128)

    def _accept(self):
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            self.clients.append(connection)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def stop(self):
        """Nobody is accepted any more; connections stay."""
        self._shut(self.server)
        self.server.close()

    def hang_up(self):
        for connection in self.clients:
            self._shut(connection)

    @staticmethod
    def _shut(s):
        """Who waits for it, in another thread, learns of it; closing alone would not tell."""
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
