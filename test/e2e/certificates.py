"""Certificates for a test, made by openssl(1): an authority, and what it signs."""

import subprocess
import time


def openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def lifetime(days):
    """The options that say it: OpenSSL 3.0 takes no dates there, and 3.5 no days before today."""
    if days > 0 or "-not_after" not in subprocess.run(["openssl", "x509", "-help"], capture_output=True, text=True).stderr:
        return "-days", days
    begin, end = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + 86400 * n)) for n in (days - 1, days))
    return "-not_before", begin, "-not_after", end


class Authority:
    """Signs certificates with keys of its own. ca is the file that trusts it."""

    def __init__(self, scratch, name="ca"):
        self.scratch, self.name = scratch, name
        self.ca, self.key = scratch / f"{name}.pem", scratch / f"{name}.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", 30,
                "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.ca)

    def issue(self, name, *names, days=20):
        """A certificate for names ("DNS:…", "IP:…") and its key, as files. days: -1 is one that expired yesterday."""
        cert, key, request = (self.scratch / f"{name}.{suffix}" for suffix in ("pem", "key", "csr"))
        extensions = self.scratch / f"{name}.ext"
        extensions.write_text(f"subjectAltName={','.join(names)}\n" if names else "")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
                "-keyout", key, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.key, "-CAcreateserial", *lifetime(days),
                "-extfile", extensions, "-out", cert)
        for path in (cert, key):
            path.chmod(0o644)
        return cert, key
