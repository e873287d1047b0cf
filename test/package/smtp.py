"""SMTP from inside a machine's network: a thread goes there for the one call that makes the socket."""

import ctypes
import os
import smtplib
import socket
import threading

CLONE_NEWNET = 0x40000000


def connect_in(network, address, source):
    """A TCP connection made in the network namespace of process `network`."""
    answer = []

    def make():
        try:
            fd = os.open(f"/proc/{network}/ns/net", os.O_RDONLY)
            if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            os.close(fd)
            answer.append(socket.create_connection(address, 30, (source, 0)))
        except OSError as error:
            answer.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(answer[0], OSError):
        raise answer[0]
    return answer[0]


class Client(smtplib.SMTP):
    def __init__(self, network, source):
        self.network, self.source = network, source
        super().__init__("127.0.0.1", 25)

    def _get_socket(self, host, port, timeout):
        return connect_in(self.network, (host, port), self.source)


def send(network, source, recipients, sender="someone@example.org"):
    """One message; the answer to each recipient, and to the message where one was accepted. A refused MAIL alone."""
    with Client(network, source) as smtp:
        smtp.ehlo("client.example.org")
        code, text = smtp.mail(sender)
        if code != 250:
            return [f"{code} {text.decode(errors='replace')}"]
        answers = [smtp.rcpt(recipient) for recipient in recipients]
        if any(code == 250 for code, _ in answers):
            answers.append(smtp.data(b"Subject: test\r\n\r\nHello.\r\n"))
        return [f"{code} {text.decode(errors='replace')}" for code, text in answers]
