"""A unix socket to which everybody may connect; each connection is served in a thread of its own."""

import os
import socket
import threading


class UnixServer:
    """A subclass says in serve() what is done with a connection, and has all that this needs before it calls listen()."""

    def listen(self, path):
        self.path = str(path)
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(self.path)
        os.chmod(self.path, 0o777)
        self.server.listen(128)
        threading.Thread(target=self._accept, daemon=True).start()

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
