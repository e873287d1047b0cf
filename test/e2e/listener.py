"""A socket to which everybody may connect, mostly a unix socket; each connection is served in a thread of its own."""

import os
import socket
import threading


class UnixServer:
    """A subclass says in serve() what is done with a connection, and has all that this needs before it calls listen()."""

    def listen(self, path):
        if isinstance(path, tuple):  # address and port, 0 for any that is free
            self.server = socket.create_server(path, backlog=128)
            self.path = self.server.getsockname()
        else:
            self._listen_unix(path)
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
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def stop(self):
        """Nobody is accepted any more; connections stay."""
        self.server.close()
