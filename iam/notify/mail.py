"""Mail over SMTP (RFC 5321), encrypted unless the relay is on this machine."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime

from iam.notify.base import Letter, NotDelivered
from iam.settings import Mail


class SmtpSender:
    """A connection a letter: they are few, and a connection that was kept is one that went stale."""

    def __init__(self, settings: Mail, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._now = now

    def send(self, letter: Letter) -> None:
        """Raises NotDelivered; for good where the server refuses this very address (5xx to RCPT)."""
        message = self._message(letter)
        try:
            server = self._connect()
            try:
                server.send_message(message, self._settings.sender, [letter.to])
            finally:
                with suppress(smtplib.SMTPException, OSError):
                    server.quit()
        except smtplib.SMTPRecipientsRefused as refused:
            code, _words = next(iter(refused.recipients.values()))
            raise NotDelivered(f"the mail server refuses this address ({code})", for_good=code >= 500) from None
        except smtplib.SMTPResponseException as error:
            raise NotDelivered(f"the mail server answers {error.smtp_code}") from None
        except (smtplib.SMTPException, OSError) as error:
            raise NotDelivered(f"the mail server does not answer as it should ({type(error).__name__})") from None

    def _connect(self) -> smtplib.SMTP:
        settings, context = self._settings, ssl.create_default_context(cafile=self._settings.ca_file)
        if settings.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(settings.host, settings.port, timeout=settings.timeout_seconds, context=context)
        else:
            server = smtplib.SMTP(settings.host, settings.port, timeout=settings.timeout_seconds)
        try:
            if settings.security == "starttls":
                server.starttls(context=context)
            if settings.username:
                server.login(settings.username, settings.password.get_secret_value())
        except BaseException:
            server.close()
            raise
        return server

    def _message(self, letter: Letter) -> EmailMessage:
        message = EmailMessage()
        message["Subject"] = _one_line(letter.subject, 200)
        message["From"] = Address("kube-iam", addr_spec=self._settings.sender)
        try:
            message["To"] = Address(_one_line(letter.to_name, 100), addr_spec=letter.to)
        except Exception:  # noqa: BLE001  # the directory says that this is an address; the parser has many ways to say that it is none
            raise NotDelivered("this is not an e-mail address", for_good=True) from None
        message["Date"] = format_datetime(self._now())
        message["Message-ID"] = f"<{letter.id}@{self._settings.sender.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answer from a holiday robot
        message.set_content(letter.text)
        message.add_alternative(letter.html, subtype="html")
        return message


def _one_line(text: str, most: int) -> str:
    """Fit for a header: printable, on one line, and no encoded word (RFC 2047) that a parser would take apart into more headers."""
    shown = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(shown.split()).replace("=?", "= ?")[:most]
