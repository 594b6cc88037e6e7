"""The router's own certificate: the configured one, or one made once and kept in the data directory; its fingerprint.

Imported only where a listener is encrypted. A certificate of our own is made by the program `openssl` in a child
process: a library for it would cost the router 18 MB for the rest of its life.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import logging
import os
import socket
import ssl
import subprocess
import time
from pathlib import Path

from clasp_edge.config.model import Config
from clasp_edge.daemon.part import CannotStart
from clasp_edge.security.known_clock import CLOCK_IS_SET_S

log = logging.getLogger("clasp_edge.tls")

DIRECTORY = "tls"
VALID_DAYS = 3650
MAKE_TIMEOUT_S = 30
LOOK_TIMEOUT_S = 5
LARGEST_FILE_BYTES = 1 << 20


class Certificate:
    """Certificate, key and the context of all encrypted listeners. `take_over` reads the files again."""

    def __init__(self, config: Config) -> None:
        """Raises CannotStart, which names the file and what is wrong with it."""
        self.made = not config.tls.certificate
        if self.made:
            self.chain, self.key = _own(config)
        else:
            self.chain = Path(config.tls.certificate)
            self.key = Path(config.tls.key or config.tls.certificate)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        self.context.set_alpn_protocols(["http/1.1", "mqtt"])
        # Tickets are of no use to connections that live for hours; each costs a message.
        self.context.num_tickets = 0
        if config.tls.client_ca:
            try:
                self.context.load_verify_locations(config.tls.client_ca)
            except OSError as error:
                raise CannotStart(f"tls.client_ca {config.tls.client_ca}: {_said(error)}") from None
            required = config.tls.client_certificates == "required"
            self.context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        self._state: object = None
        self.loads = 0
        """How often the files were taken over: who keeps a copy of what is in them looks here."""
        self._load()

    def _load(self) -> None:
        try:
            _refuse_what_does_not_fit(self.chain, self.key)
            self.context.load_cert_chain(self.chain, self.key, _no_password)
        except (OSError, ValueError) as error:
            raise CannotStart(f"tls.certificate {self.chain} with {self.key}: {_said(error)}") from None
        self.fingerprint = fingerprint_of(self.chain)
        self.loads += 1
        self._state = self._files()

    def time_fault(self) -> str | None:
        """Why clients will not believe the certificate now, if its time is the reason. It is used all the same: the
        clock may be set later."""
        command = ["openssl", "x509", "-in", str(self.chain), "-noout", "-dates", "-dateopt", "iso_8601"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LOOK_TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None  # the program only makes certificates; with one of somebody else's it may be missing
        found = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
        now = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
        # In this form times are in the order of texts.
        if now < found.get("notBefore", ""):
            return (
                f"certificate {self.chain}: not valid before {found['notBefore']}, and this box's clock shows {now}: "
                "clients that look at the time refuse it until the clock is set"
            )
        if now > found.get("notAfter", "9999"):
            return f"certificate {self.chain}: has expired on {found['notAfter']}"
        return None

    def _files(self) -> object:
        found = []
        for path in (self.chain, self.key):
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_ino, status.st_size))
        return found

    def take_over(self) -> bool:
        """Use the files as they are now, if they have changed and are right; whether they did. What is wrong is logged
        once for each change, and the certificate in use stays."""
        state = self._files()
        if state == self._state:
            return False
        self._state = state
        try:
            # Looked at apart first: a context with half a new pair would refuse everybody.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.chain, self.key, _no_password)
            self._load()
        except (OSError, ValueError) as error:
            log.error("certificate %s: not taken over: %s", self.chain, _said(error))
            return False
        log.warning("certificate %s: taken over, fingerprint %s", self.chain, self.fingerprint)
        return True


def fault_of_pair(config: Config, base: Path) -> str | None:
    """Why certificate and key that are configured cannot be used; None where they can, or none are. What is not found
    from here is looked for below `base`, from where the service runs."""
    if not config.tls.certificate:
        return None
    chain, key = (
        path if path.is_absolute() or path.exists() else base / path
        for path in (Path(config.tls.certificate), Path(config.tls.key or config.tls.certificate))
    )
    try:
        _refuse_what_does_not_fit(chain, key)
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key, _no_password)
    except (OSError, ValueError) as error:
        return f"{config.tls.certificate} with {config.tls.key or config.tls.certificate}: {_said(error)}"
    return None


def days_of_validity(now_s: float) -> int:
    """For a certificate made now. A box whose clock is not set begins in the past: its certificate must not have ended
    by the time the clock is."""
    return VALID_DAYS + max(0, int((CLOCK_IS_SET_S - now_s) // 86_400))


def fingerprint_of(chain: Path) -> str:
    """`sha256:` and the hash of the first certificate's DER form, as `tls_pin` takes it."""
    text = chain.read_text(encoding="ascii", errors="replace")
    begins, ends = text.find(ssl.PEM_HEADER), text.find(ssl.PEM_FOOTER)
    if begins < 0 or ends < begins:
        raise ValueError("no certificate in it")
    return "sha256:" + hashlib.sha256(ssl.PEM_cert_to_DER_cert(text[begins : ends + len(ssl.PEM_FOOTER)])).hexdigest()


def _refuse_what_does_not_fit(*paths: Path) -> None:
    for path in paths:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise ValueError(f"{path} is larger than any certificate")


def _no_password() -> str:
    # Otherwise OpenSSL would ask on the terminal.
    raise ValueError("the key is encrypted")


def _said(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    if isinstance(reason, str):
        return {
            "KEY_VALUES_MISMATCH": "the key does not belong to the certificate",
            "NO_START_LINE": "no certificate or no key in it",
        }.get(reason, reason.replace("_", " ").lower())
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error)


# ---- a certificate of our own ----


def _own(config: Config) -> tuple[Path, Path]:
    directory = config.data_dir / DIRECTORY
    chain, key = directory / "certificate.pem", directory / "key.pem"
    if not (chain.exists() and key.exists()):
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            _make(chain, key, config.name)
        except OSError as error:
            raise CannotStart(f"tls: no certificate can be kept in {directory}: {_said(error)}") from None
    return chain, key


def _make(chain: Path, key: Path, name: str) -> None:
    fresh_chain, fresh_key = chain.with_suffix(".new"), key.with_suffix(".new")
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-sha256",
        "-days", str(days_of_validity(time.time())), "-subj", f"/CN={_common_name(name)}", "-keyout", str(fresh_key),
        "-out", str(fresh_chain), "-addext", f"subjectAltName={','.join(_alternative_names(name))}",
        "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=serverAuth,clientAuth",
    ]  # fmt: skip
    fresh_key.unlink(missing_ok=True)
    os.close(os.open(fresh_key, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=MAKE_TIMEOUT_S, check=False)
    except FileNotFoundError:
        raise CannotStart(
            "tls: making a certificate needs the program openssl (apt-get install openssl), or set tls.certificate"
        ) from None
    except subprocess.TimeoutExpired:
        raise CannotStart("tls: openssl took too long to make a certificate") from None
    if done.returncode:
        raise CannotStart(f"tls: openssl made no certificate: {done.stderr.strip()[-300:]}")
    # The key first: a certificate without its key is the one state that would not mend itself.
    for fresh, final in ((fresh_key, key), (fresh_chain, chain)):
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.replace(final)


def _common_name(name: str) -> str:
    safe = "".join(character for character in name if character.isalnum() or character in " -_.")
    return safe.strip()[:60] or "clasp-edge"


def _alternative_names(name: str) -> list[str]:
    host = socket.gethostname()
    names = dict.fromkeys([host, f"{host.partition('.')[0]}.local", "localhost"])
    found = [f"DNS:{one}" for one in names if one and all(c.isascii() and (c.isalnum() or c in "-._") for c in one)]
    return found + [f"IP:{address}" for address in _addresses()]


def _addresses() -> list[str]:
    addresses = {"127.0.0.1", "::1"}
    with contextlib.suppress(OSError):
        for info in socket.getaddrinfo(socket.gethostname(), None):
            addresses.add(str(info[4][0]).partition("%")[0])
    # The address that others reach us by: nothing is sent.
    for family, remote in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((remote, 9))
            addresses.add(str(probe.getsockname()[0]).partition("%")[0])
    return sorted(address for address in addresses if not ipaddress.ip_address(address).is_unspecified)
