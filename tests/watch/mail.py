"""A small mail server that keeps what it is sent: just enough SMTP for `smtplib`."""

import socketserver
import threading
from email import message_from_string
from email.message import Message
from types import TracebackType
from typing import Self, cast


class MailServer:
    """Takes mail on loopback; `letters` are what arrived. While `is_away` it refuses everyone."""

    def __init__(self) -> None:
        self.letters: list[Message] = []
        self.is_away = False
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _handling(self))
        self._server.daemon_threads = True

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handling(mail: MailServer) -> type[socketserver.StreamRequestHandler]:
    class Conversation(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say("421 away" if mail.is_away else "220 mail")
            while line := self.rfile.readline():
                verb = line[:4].upper().strip()
                if verb == b"DATA":
                    self._say("354 go on")
                    mail.letters.append(message_from_string(self._letter()))
                self._say("221 bye" if verb == b"QUIT" else "250 ok")
                if verb == b"QUIT":
                    return

        def _letter(self) -> str:
            lines = iter(self.rfile.readline, b".\r\n")
            return b"".join(line.removeprefix(b".") if line.startswith(b"..") else line for line in lines).decode()

        def _say(self, words: str) -> None:
            self.wfile.write(f"{words}\r\n".encode())

    return Conversation


def text_of(letter: Message) -> str:
    """Return the body of a letter."""
    parts = [cast(bytes, part.get_payload(decode=True)) for part in letter.walk() if not part.is_multipart()]
    return b"".join(parts).decode()
