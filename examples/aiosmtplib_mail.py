"""A mail by aiosmtplib, over the socket that won a race.

Run it: python examples/aiosmtplib_mail.py mail.example.com me@example.com you@example.com [--port 587]
"""

import argparse
import asyncio
from email.message import EmailMessage

import aiosmtplib

import pvdrace


async def main(host: str, port: int, sender: str, recipient: str) -> None:
    """Submit it; STARTTLS comes after the race, whose winner the TCP handshake decides."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, recipient, "hello"
    message.set_content("hello\n")
    sock, report = await pvdrace.connect(host, port, timeout=10)
    print(report)
    async with aiosmtplib.SMTP(hostname=host, sock=sock, start_tls=True) as smtp:
        _, answer = await smtp.send_message(message)
    print(answer)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("host")
    parser.add_argument("sender")
    parser.add_argument("recipient")
    parser.add_argument("--port", type=int, default=587)
    arguments = parser.parse_args()
    try:
        asyncio.run(main(arguments.host, arguments.port, arguments.sender, arguments.recipient))
    except (pvdrace.PvdRaceError, aiosmtplib.SMTPException) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from None
